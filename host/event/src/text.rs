//! The text of a string or key that the scanner has validated. Reading it needs no allocation, even
//! with escapes.

use std::cmp::Ordering;

use super::tape::{Kind, Node};

/// The text of a string, as a reference to its bytes in the body.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The text of a string's node.
    #[inline]
    pub(super) fn of(body: &'a [u8], node: Node) -> Text<'a> {
        Text { raw: node.token(body), escaped: node.kind() == Kind::EscapedText }
    }

    /// The bytes of the text; `None` if the body has them with escapes.
    pub(super) fn plain(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// The length of the text in bytes of UTF-8, without escapes.
    pub(super) fn len(self) -> usize {
        if self.escaped { self.bytes().count() } else { self.raw.len() }
    }

    /// Whether the text equals `other`.
    pub(super) fn is(self, other: &str) -> bool {
        if self.escaped { self.bytes().eq(other.bytes()) } else { self.raw == other.as_bytes() }
    }

    /// Whether the text equals an ASCII name, ignoring case.
    pub(super) fn is_ignoring_case(self, other: &str) -> bool {
        match self.plain() {
            Some(plain) => plain.eq_ignore_ascii_case(other.as_bytes()),
            None => self
                .bytes()
                .map(|byte| byte.to_ascii_lowercase())
                .eq(other.bytes().map(|byte| byte.to_ascii_lowercase())),
        }
    }

    pub(super) fn cmp(self, other: Text<'_>) -> Ordering {
        if self.escaped || other.escaped {
            self.bytes().cmp(other.bytes())
        } else {
            self.raw.cmp(other.raw)
        }
    }

    /// The first eight bytes as a big-endian number: different prefixes compare as their texts do.
    /// A shorter text is padded with zeros; equal prefixes say nothing.
    pub(super) fn prefix(self) -> u64 {
        let mut first = [0; 8];
        if self.escaped {
            first.iter_mut().zip(self.bytes()).for_each(|(first, byte)| *first = byte);
        } else {
            let length = self.raw.len().min(first.len());
            first[..length].copy_from_slice(&self.raw[..length]);
        }
        u64::from_be_bytes(first)
    }

    pub(super) fn append_to(self, out: &mut Vec<u8>) {
        if self.escaped { out.extend(self.bytes()) } else { out.extend_from_slice(self.raw) }
    }

    /// Passes the text to a parser as one slice. `None` if the parser refuses it, or if a text with
    /// escapes has more than `N` bytes.
    pub(super) fn read<const N: usize, T>(
        self,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Option<T> {
        if !self.escaped {
            return parse(self.raw);
        }
        let mut buffer = [0; N];
        let mut length = 0;
        for byte in self.bytes() {
            *buffer.get_mut(length)? = byte;
            length += 1;
        }
        parse(&buffer[..length])
    }

    pub(super) fn to_boxed_str(self) -> Box<str> {
        if let (false, Ok(text)) = (self.escaped, std::str::from_utf8(self.raw)) {
            return text.into();
        }
        let bytes = self.bytes().collect();
        // The scanner has checked UTF-8 and surrogate pairs, so this conversion never fails.
        String::from_utf8(bytes).unwrap_or_default().into_boxed_str()
    }

    /// The bytes of the text, unescaped.
    fn bytes(self) -> Unescaped<'a> {
        Unescaped { raw: self.raw, character: [0; 4], pending: 0..0 }
    }
}

/// Unescapes byte by byte.
struct Unescaped<'a> {
    raw: &'a [u8],
    /// The UTF-8 of the last `\u` escape. The bytes in the range `pending` are not returned yet.
    character: [u8; 4],
    pending: std::ops::Range<usize>,
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let Some(index) = self.pending.next() {
            return Some(self.character[index]);
        }
        let (&first, rest) = self.raw.split_first()?;
        self.raw = rest;
        if first != b'\\' {
            return Some(first);
        }
        let (&escape, rest) = self.raw.split_first()?;
        self.raw = rest;
        match escape {
            b'b' => Some(8),
            b'f' => Some(12),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'u' => self.unicode_escape(),
            itself => Some(itself),
        }
    }
}

impl Unescaped<'_> {
    fn unicode_escape(&mut self) -> Option<u8> {
        let (digits, rest) = self.raw.split_first_chunk()?;
        self.raw = rest;
        let mut code = u32::from(code_unit(digits)?);
        if (0xd800..0xdc00).contains(&code) {
            // The scanner has checked that `\u` and the second half of the pair follow.
            let digits = self.raw.get(2..)?.first_chunk()?;
            self.raw = &self.raw[6..];
            code = 0x1_0000 + ((code - 0xd800) << 10) + (u32::from(code_unit(digits)?) - 0xdc00);
        }
        let length = char::from_u32(code)?.encode_utf8(&mut self.character).len();
        self.pending = 1..length;
        Some(self.character[0])
    }
}

/// The UTF-16 code unit of four hexadecimal digits; `None` if they are no such digits.
pub(super) fn code_unit(digits: &[u8; 4]) -> Option<u16> {
    digits.iter().try_fold(0, |code: u16, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(code << 4 | digit as u16)
    })
}
