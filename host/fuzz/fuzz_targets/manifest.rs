//! Any bytes as a module's manifest: nothing panics, what is accepted keeps to the ABI's bounds and has the engine's marks on what is
//! personal, and a module around it says the same.

#![no_main]

use std::sync::Arc;

use hailer::engine::{Limits, ModuleError, read_manifest, verify};
use hailer_abi::manifest::FieldKind;
use libfuzzer_sys::fuzz_target;

/// All that a rule must be, but for the manifest: a memory and the three functions.
const RULE: &[&[u8]] = &[
    b"\0asm\x01\0\0\0",
    b"\x01\x12\x03\x60\x01\x7f\x01\x7f\x60\x01\x7f\x01\x7e\x60\x03\x7f\x7f\x7f\x01\x7e",
    b"\x03\x04\x03\x00\x01\x02",
    b"\x05\x03\x01\x00\x01",
    b"\x07\x3c\x04\x06memory\x02\x00\x0chailer_input\x00\x00\x10hailer_configure\x00\x01\x0dhailer_handle\x00\x02",
    b"\x0a\x11\x03\x05\x00\x41\x80\x08\x0b\x04\x00\x42\x00\x0b\x04\x00\x42\x00\x0b",
];

fuzz_target!(|bytes: &[u8]| {
    let read = read_manifest(bytes);
    let verified = verify(module(bytes), &Limits::default());
    match (read, verified) {
        (Ok(manifest), Ok(module)) => {
            assert_eq!(manifest, *module.manifest);
            assert!((1..=64).contains(&manifest.handlers.len()));
            for field in manifest.handlers.iter().flat_map(|handler| &handler.fields) {
                let is_whole = field.kind != FieldKind::List && field.paths.iter().any(String::is_empty);
                assert!(field.personal || !is_whole, "the whole message is personal");
            }
        }
        (Err(error), Err(ModuleError::Manifest(through))) => assert_eq!(error, through),
        (read, verified) => panic!("{read:?}, and through a module {verified:?}"),
    }
});

/// The rule with a manifest in its custom section.
fn module(manifest: &[u8]) -> Arc<[u8]> {
    let name = b"hailer.manifest";
    let mut module = RULE.concat();
    module.push(0);
    write_length(&mut module, 1 + name.len() + manifest.len());
    module.push(name.len() as u8);
    module.extend_from_slice(name);
    module.extend_from_slice(manifest);
    module.into()
}

/// LEB128.
fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
