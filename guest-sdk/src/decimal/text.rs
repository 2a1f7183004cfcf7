//! Decimals as text: literals, parsing, and formatting with a precision.

use core::fmt;
use core::str::FromStr;

use super::arithmetic::divide_by_ten;
use super::{Decimal, MAGNITUDE_MAX, SCALE_MAX};

/// Converts a literal's text to a decimal.
///
/// # Panics
/// When the text is not a decimal with at most 28 digits after the point and 96 bits. In a
/// constant, that is a compile error.
#[must_use]
pub const fn literal(text: &str) -> Decimal {
    match parse(text.as_bytes(), true) {
        Some(value) => value,
        None => panic!("not a decimal of up to 28 digits: write it like 100.50"),
    }
}

const fn parse(text: &[u8], is_literal: bool) -> Option<Decimal> {
    let (mut magnitude, mut scale, mut digits): (u128, u8, u32) = (0, 0, 0);
    let (mut negative, mut point) = (false, false);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'-' if digits == 0 && !negative => negative = true,
            b'.' if !point && digits > 0 => point = true,
            b'_' if digits > 0 && is_literal => {}
            // `stringify!` may put a space after the sign.
            b' ' if digits == 0 && is_literal => {}
            digit @ b'0'..=b'9' => {
                magnitude = magnitude * 10 + (digit - b'0') as u128;
                digits += 1;
                scale += point as u8;
                if magnitude > MAGNITUDE_MAX || scale > SCALE_MAX {
                    return None;
                }
            }
            _ => return None,
        }
        at += 1;
    }
    if digits == 0 || text[text.len() - 1] == b'.' {
        return None;
    }
    Some(Decimal { magnitude, scale, negative: negative && magnitude != 0 })
}

/// The error for text that is not a decimal, or that has too many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDecimal;

impl fmt::Display for InvalidDecimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a decimal of up to 28 digits: write it like 100.50")
    }
}

impl core::error::Error for InvalidDecimal {}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Decimal, InvalidDecimal> {
        parse(text.as_bytes(), false).ok_or(InvalidDecimal)
    }
}

/// Writes the decimal with its own scale, or with the precision of the format: `{:.2}`.
impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = formatter.precision().map_or(self.scale(), |digits| digits as u32);
        let shown = self.round(precision);
        let zeros = precision.saturating_sub(shown.scale()).min(28);
        let scale = shown.scale() + zeros;
        let mut text = Backwards { text: [0; 64], at: 64 };
        let (mut rest, mut digits) = (shown.magnitude, 0);
        while digits <= scale || rest > 0 {
            if digits == scale && scale > 0 {
                text.push(b'.');
            }
            let digit = if digits < zeros {
                0
            } else {
                let digit;
                (rest, digit) = divide_by_ten(rest);
                digit
            };
            text.push(b'0' + digit);
            digits += 1;
        }
        if shown.negative {
            text.push(b'-');
        }
        formatter.write_str(text.as_str())
    }
}

/// A buffer that is filled from its end to its start. The longest text is a sign, 29 digits, a
/// point, and 28 zeros that a precision adds. A byte too many would be lost instead of a panic,
/// because every module would have to carry the panic's code.
struct Backwards {
    text: [u8; 64],
    at: usize,
}

impl Backwards {
    fn push(&mut self, letter: u8) {
        self.at = self.at.wrapping_sub(1);
        if let Some(place) = self.text.get_mut(self.at) {
            *place = letter;
        }
    }

    fn as_str(&self) -> &str {
        let text = self.text.get(self.at..).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
