//! Recognizes common wrong formats of an input by its first line, for a hint to the user.

/// The reason why a line is no event, with the command that helps; `None` if the line has no known
/// wrong format.
pub fn format_hint(line: &[u8]) -> Option<&'static str> {
    let text = line.trim_ascii();
    match text {
        [0x1f, 0x8b, ..] => Some("it is compressed (gzip): use the output of `zcat FILE`"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Some("it is compressed (zstd): use the output of `zstdcat FILE`")
        }
        [b'P', b'K', 3, 4, ..] => Some("it is an archive (zip): use the files inside it"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => {
            Some("it is UTF-16: use the output of `iconv -f UTF-16 -t UTF-8 FILE`")
        }
        [b'[', ..] | [0xef, 0xbb, 0xbf, b'[', ..] => {
            Some("it is a JSON array: use the output of `jq -c '.[]' FILE`")
        }
        [b'{'] | [0xef, 0xbb, 0xbf, b'{'] => {
            Some("its JSON is spread over several lines: use the output of `jq -c . FILE`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_formats_are_recognized_by_their_first_line() {
        for (line, hint) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"\x28\xb5\x2f\xfd\0", "zstd"),
            (b"PK\x03\x04", "zip"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"\xfe\xff\0{", "UTF-16"),
            (b"{\0\"\0", "UTF-16"),
            (b"[", "array"),
            (b" [{\"eventCode\":1}]", "array"),
            (b"{\r", "several lines"),
        ] {
            assert!(format_hint(line).is_some_and(|found| found.contains(hint)), "{line:?}");
        }
        for line in [&b"{\"eventCode\":\"X\"}"[..], b"", b"x", b"{}"] {
            assert_eq!(format_hint(line), None, "{line:?}");
        }
    }
}
