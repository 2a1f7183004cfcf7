//! Numbers, exactly as their literals write them. Nothing goes through a float unless a float was asked for.

use rust_decimal::Decimal;

/// The text of a number that the scanner has validated.
#[derive(Clone, Copy)]
pub(super) struct Literal<'a>(pub(super) &'a [u8]);

/// The most significant digits of a decimal, and its largest scale.
const DIGITS_MAX: i64 = 28;

/// A literal's value: `mantissa` × 10^`exponent`, with no zero at the mantissa's end.
struct Exact {
    negative: bool,
    mantissa: u128,
    digits: i64,
    exponent: i64,
    /// The places after the point that the literal writes, moved by its exponent.
    scale: i64,
}

impl Literal<'_> {
    /// The number as an exact decimal, with the scale that the literal has; `None` if it needs more than 28 significant digits, or more than
    /// 28 places.
    pub(super) fn decimal(self) -> Option<Decimal> {
        let exact = self.exact()?;
        if exact.mantissa == 0 {
            return Some(Decimal::new(0, exact.scale.clamp(0, DIGITS_MAX) as u32));
        }
        // Zeros at the end are kept as far as there is room for them.
        let room = DIGITS_MAX - exact.digits - exact.exponent;
        let scale = exact.scale.clamp(0, DIGITS_MAX).min(room);
        let zeros = u32::try_from(scale + exact.exponent).ok().filter(|_| scale >= 0)?;
        let magnitude = i128::try_from(exact.mantissa * 10_u128.pow(zeros)).ok()?;
        let signed = if exact.negative { -magnitude } else { magnitude };
        Decimal::try_from_i128_with_scale(signed, scale as u32).ok()
    }

    /// The number as an integer, if its value is one: `10.0000` is.
    pub(super) fn integer(self) -> Option<i128> {
        let exact = self.exact()?;
        if exact.mantissa == 0 {
            return Some(0);
        }
        if exact.digits + exact.exponent > DIGITS_MAX {
            return None;
        }
        let zeros = u32::try_from(exact.exponent).ok()?;
        let magnitude = i128::try_from(exact.mantissa * 10_u128.pow(zeros)).ok()?;
        Some(if exact.negative { -magnitude } else { magnitude })
    }

    /// The nearest float; `None` if that is infinite.
    pub(super) fn float(self) -> Option<f64> {
        let text = std::str::from_utf8(self.0).ok()?;
        text.parse().ok().filter(|float: &f64| float.is_finite())
    }

    /// `None` if there are more than 28 significant digits.
    fn exact(self) -> Option<Exact> {
        let (negative, rest) = match self.0.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let (mut mantissa, mut digits, mut zeros, mut places) = (0_u128, 0_i64, 0_i64, 0_i64);
        let mut after_point = false;
        let mut written_exponent = 0;
        for (index, &byte) in rest.iter().enumerate() {
            match byte {
                b'.' => after_point = true,
                b'0' => {
                    zeros += i64::from(mantissa != 0);
                    places += i64::from(after_point);
                }
                b'1'..=b'9' => {
                    // The zeros that were held back turn out not to be the last digits.
                    digits += zeros + 1;
                    if digits > DIGITS_MAX {
                        return None;
                    }
                    mantissa = mantissa * 10_u128.pow(zeros as u32 + 1) + u128::from(byte - b'0');
                    zeros = 0;
                    places += i64::from(after_point);
                }
                _ => {
                    written_exponent = read_exponent(&rest[index + 1..]);
                    break;
                }
            }
        }
        let scale = places - written_exponent;
        Some(Exact { negative, mantissa, digits, exponent: zeros - scale, scale })
    }
}

/// The exponent of a literal; one that is out of every range stays so, and nothing more is needed of it.
fn read_exponent(text: &[u8]) -> i64 {
    const BEYOND: i64 = 1 << 40;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let magnitude =
        digits.iter().fold(0, |exponent: i64, &digit| (exponent * 10 + i64::from(digit - b'0')).min(BEYOND));
    if negative { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Option<String> {
        Literal(text.as_bytes()).decimal().map(|decimal| decimal.to_string())
    }

    #[test]
    fn a_decimal_has_the_digits_and_the_scale_of_its_literal() {
        for text in
            ["0", "135.0000", "-6.6700", "0.0001", "9999999999999999999999999999", "0.0000000000000000000000000001"]
        {
            assert_eq!(decimal(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn an_exponent_moves_the_point() {
        for (text, expected) in [
            ("1e2", "100"),
            ("1.50E1", "15.0"),
            ("-2.5e-3", "-0.0025"),
            ("0e99999999999999999999", "0"),
            ("12e+0", "12"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn zeros_that_a_decimal_has_no_room_for_are_dropped_and_digits_never() {
        let zeros = "0".repeat(100);
        assert_eq!(decimal(&format!("1.{zeros}")), Some(format!("1.{}", &zeros[..27])));
        assert_eq!(decimal(&format!("0.{zeros}")), Some(format!("0.{}", &zeros[..28])));
        for text in [
            "10000000000000000000000000001",
            "0.00000000000000000000000000001",
            "1e28",
            "1e-29",
            "1e999999999999999999999",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
        assert_eq!(decimal("1e27").as_deref(), Some("1000000000000000000000000000"));
    }

    #[test]
    fn an_integer_is_a_value_without_a_fraction() {
        let integer = |text: &str| Literal(text.as_bytes()).integer();
        for (text, expected) in [("0", 0), ("-0", 0), ("10.0000", 10), ("-121", -121), ("1e3", 1000), ("1500e-2", 15)] {
            assert_eq!(integer(text), Some(expected), "{text}");
        }
        assert_eq!(integer("18446744073709551616"), Some(1 << 64));
        for text in ["1.5", "1e-1", "1e99"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn a_float_that_is_out_of_range_is_none() {
        assert_eq!(Literal(b"-1.5e3").float(), Some(-1500.0));
        assert_eq!(Literal(b"1e-999").float(), Some(0.0));
        assert_eq!(Literal(b"1e999").float(), None);
    }
}
