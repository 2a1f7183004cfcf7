//! The tokens of JSON (RFC 8259): strings, numbers and words.
//!
//! Each function takes the offset of a token, checks the token, and returns the offset after it.
//! These functions have no state; the scanner has it.

use super::error::EventErrorKind;
use super::tape::Kind;
use super::text::code_unit;

/// A body as tokens. It is small and passed by value.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a>(pub(super) &'a [u8]);

/// The place and the reason at which reading stopped. It is boxed, so that results of a valid body
/// stay in registers.
pub(super) struct Stop {
    pub(super) kind: EventErrorKind,
    pub(super) at: usize,
}

#[cold]
pub(super) fn stop<T>(kind: EventErrorKind, at: usize) -> Result<T, Box<Stop>> {
    Err(Box::new(Stop { kind, at }))
}

impl Tokens<'_> {
    /// The byte at an offset. At the end of the body it is NUL, which is in no token and so stops
    /// every loop.
    #[inline]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    #[cold]
    pub(super) fn syntax<T>(self, what: &'static str, at: usize) -> Result<T, Box<Stop>> {
        let what = if at < self.0.len() { what } else { "the body ends too early" };
        stop(EventErrorKind::Syntax(what), at)
    }

    #[inline]
    pub(super) fn skip_space(self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    /// Reads a string from after its opening quote. Returns the offset of its closing quote, and
    /// whether it has escapes.
    #[inline(always)]
    pub(super) fn text(self, begin: usize) -> Result<(usize, Kind), Box<Stop>> {
        let mut at = self.skip_plain_text(begin);
        if self.byte(at) == b'"' {
            return Ok((at, Kind::Text));
        }
        while self.byte(at) != b'"' {
            if self.byte(at) != b'\\' {
                return self.syntax("a control character in a string", at);
            }
            at = self.escape(at)?;
            at = self.skip_plain_text(at);
        }
        Ok((at, Kind::EscapedText))
    }

    /// The offset of the next quote, backslash or control character, or of the body's end.
    #[inline(always)]
    fn skip_plain_text(self, mut at: usize) -> usize {
        while let Some(eight) = self.0.get(at..).and_then(<[u8]>::first_chunk) {
            let stops = text_stops(u64::from_le_bytes(*eight));
            if stops != 0 {
                return at + stops.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        // Fewer than eight bytes are left.
        while let Some(byte) = self.0.get(at) {
            if matches!(byte, b'"' | b'\\' | 0..0x20) {
                break;
            }
            at += 1;
        }
        at
    }

    /// Reads an escape from its backslash on. A pair of surrogates is one escape. A single
    /// surrogate is refused.
    #[cold]
    fn escape(self, at: usize) -> Result<usize, Box<Stop>> {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => match self.unicode_escape(at) {
                Some(0xd800..=0xdbff) => match self.unicode_escape(at + 6) {
                    Some(0xdc00..=0xdfff) => Ok(at + 12),
                    _ => stop(EventErrorKind::Escape, at),
                },
                Some(0xdc00..=0xdfff) | None => stop(EventErrorKind::Escape, at),
                Some(_) => Ok(at + 6),
            },
            _ => stop(EventErrorKind::Escape, at),
        }
    }

    fn unicode_escape(self, at: usize) -> Option<u16> {
        let digits = self.0.get(at..)?.strip_prefix(b"\\u")?.first_chunk()?;
        code_unit(digits)
    }

    /// Reads a number. Returns the offset after it, and whether it is written as an integer.
    #[inline]
    pub(super) fn number(self, begin: usize) -> Result<(usize, Kind), Box<Stop>> {
        let mut at = begin + usize::from(self.byte(begin) == b'-');
        let mut kind = Kind::Integer;
        if self.byte(at) == b'0' {
            at += 1;
            if self.byte(at).is_ascii_digit() {
                return self.syntax("a number with a leading zero", at);
            }
        } else {
            at = self.digits(at)?;
        }
        if self.byte(at) == b'.' {
            kind = Kind::Number;
            at = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            kind = Kind::Number;
            at += 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = self.digits(at)?;
        }
        Ok((at, kind))
    }

    /// Reads one digit or more.
    #[inline]
    fn digits(self, begin: usize) -> Result<usize, Box<Stop>> {
        let mut at = begin;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at == begin { self.syntax("no digit where a number needs one", at) } else { Ok(at) }
    }

    /// Reads `null`, `true` or `false`.
    #[inline]
    pub(super) fn word(self, begin: usize) -> Result<(usize, Kind), Box<Stop>> {
        match self.0.get(begin..) {
            Some([b'n', b'u', b'l', b'l', ..]) => Ok((begin + 4, Kind::Null)),
            Some([b't', b'r', b'u', b'e', ..]) => Ok((begin + 4, Kind::True)),
            Some([b'f', b'a', b'l', b's', b'e', ..]) => Ok((begin + 5, Kind::False)),
            _ => self.syntax("a token that is no json value", begin),
        }
    }
}

/// Finds quotes, backslashes and control characters among eight bytes. Each one sets the highest
/// bit of its byte in the result. Only the lowest mark is exact: after the first one, a subtraction
/// borrows from the next byte, so the marks above may be wrong.
#[inline]
fn text_stops(eight: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let controls = eight.wrapping_sub(ONES * 0x20);
    let quotes = (eight ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslashes = (eight ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    // A byte of 0x80 or more is never one of these characters. For any other byte, only a found
    // character makes a subtraction go below zero, which sets the highest bit.
    (controls | quotes | backslashes) & !eight & HIGHS
}
