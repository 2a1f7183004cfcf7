//! Writing what a module says beside its code: custom sections, and the lengths in them. Reading is wasmparser's.

/// Appends a custom section to a module.
pub fn append_custom_section(name: &str, data: &[u8], module: &mut Vec<u8>) {
    const CUSTOM: u8 = 0;
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    write_text(name, &mut content);
    content.extend_from_slice(data);
    module.push(CUSTOM);
    write_leb(content.len(), module);
    module.append(&mut content);
}

/// A text with its length before it.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    write_leb(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// A number as WebAssembly writes lengths: seven bits a byte, the lowest first.
pub fn write_leb(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
