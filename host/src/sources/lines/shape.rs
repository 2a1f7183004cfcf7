//! The form of an input whose first line holds no event, for a hint to the user.

/// Why a line can be no event, if that is seen at a glance.
pub(crate) fn shape(line: &[u8]) -> Option<&'static str> {
    let text = line.trim_ascii();
    match text {
        [0x1f, 0x8b, ..] => Some("it is compressed (gzip): hand in what `zcat FILE` prints"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("it is compressed (zstd): hand in what `zstdcat FILE` prints"),
        [b'P', b'K', 3, 4, ..] => Some("it is an archive (zip): hand in the files in it"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => {
            Some("it is UTF-16: hand in what `iconv -f UTF-16 -t UTF-8 FILE` prints")
        }
        [b'[', ..] | [0xef, 0xbb, 0xbf, b'[', ..] => Some("it is a JSON array: hand in what `jq -c '.[]' FILE` prints"),
        [b'{'] | [0xef, 0xbb, 0xbf, b'{'] => {
            Some("its JSON is spread over several lines: hand in what `jq -c . FILE` prints")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_another_form_are_told_by_their_first_line() {
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
            assert!(shape(line).is_some_and(|found| found.contains(hint)), "{line:?}");
        }
        for line in [&b"{\"eventCode\":\"X\"}"[..], b"", b"x", b"{}"] {
            assert_eq!(shape(line), None, "{line:?}");
        }
    }
}
