//! Numbers. A decimal is exact if it can hold the literal, and is rounded once otherwise. A float
//! is used only if a float is requested.

use rust_decimal::Decimal;

/// The text of a number that the scanner has validated.
#[derive(Clone, Copy)]
pub(super) struct Literal<'a>(pub(super) &'a [u8]);

/// A decimal holds every number of up to this many significant digits. It is also its largest
/// scale.
const DIGITS_MAX: i64 = 28;
/// A decimal holds a number of this many digits only if it fits 96 bits.
const DIGITS_ROUNDED_MAX: i64 = 29;
const MAGNITUDE_MAX: i128 = (1 << 96) - 1;

/// The significant digits of a literal: its value is `digits` × 10^`exponent`, without leading and
/// trailing zeros.
#[derive(Clone, Copy)]
pub(super) struct Digits<'a> {
    pub(super) is_negative: bool,
    /// The digits, with the point if it is between them.
    digits: &'a [u8],
    pub(super) count: usize,
    pub(super) exponent: i64,
}

impl Digits<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        self.digits.iter().copied().filter(|byte| *byte != b'.')
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self.digits.iter().position(|byte| *byte == b'.') {
            None => out.extend_from_slice(self.digits),
            Some(point) => {
                out.extend_from_slice(&self.digits[..point]);
                out.extend_from_slice(&self.digits[point + 1..]);
            }
        }
    }

    /// The first `count` digits as an integer, padded with zeros if there are fewer, and rounded
    /// half to even by the digits after them.
    fn rounded_to(&self, count: i64) -> i128 {
        if count < 0 {
            return 0;
        }
        let mut digits = self.iter();
        let mut next = || digits.next().unwrap_or(b'0');
        let first = (0..count).fold(0_i128, |number, _| number * 10 + i128::from(next() - b'0'));
        let dropped = next();
        let is_up = match dropped {
            // The digits have no trailing zeros, so any next digit makes it more than half.
            b'5' => first % 2 == 1 || digits.next().is_some(),
            dropped => dropped > b'5',
        };
        first + i128::from(is_up)
    }
}

/// The exact value of a literal: `mantissa` × 10^`exponent`, without trailing zeros in the
/// mantissa.
struct Exact {
    negative: bool,
    mantissa: u128,
    digits: i64,
    exponent: i64,
    /// The number of places after the point in the literal, minus its exponent.
    scale: i64,
}

impl Literal<'_> {
    /// The number as a decimal. It is exact if it has at most 28 significant digits and 28 places.
    /// Otherwise it is rounded half to even to 96 bits and 28 places. `None` if it is too large.
    pub(super) fn decimal(self) -> Option<Decimal> {
        self.exact_decimal().or_else(|| self.rounded_decimal())
    }

    fn rounded_decimal(self) -> Option<Decimal> {
        let digits = self.significant_digits();
        // The number of digits before the point.
        let whole = digits.count as i64 + digits.exponent;
        let mut scale = (-digits.exponent).clamp(0, DIGITS_MAX).min(DIGITS_ROUNDED_MAX - whole);
        while scale >= 0 {
            let magnitude = digits.rounded_to(whole + scale);
            if magnitude <= MAGNITUDE_MAX {
                let signed = if digits.is_negative { -magnitude } else { magnitude };
                return Decimal::try_from_i128_with_scale(signed, scale as u32).ok();
            }
            scale -= 1;
        }
        None
    }

    /// The digits without leading and trailing zeros; zero has no digits.
    pub(super) fn significant_digits(&self) -> Digits<'_> {
        let (is_negative, rest) = match self.0.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let (mut first, mut last, mut point, mut end) = (None, 0, None, rest.len());
        for (place, byte) in rest.iter().enumerate() {
            match byte {
                b'1'..=b'9' => {
                    first.get_or_insert(place);
                    last = place;
                }
                b'.' => point = Some(place),
                b'e' | b'E' => {
                    end = place;
                    break;
                }
                _ => {}
            }
        }
        let written_exponent = rest.get(end + 1..).map_or(0, read_exponent);
        let Some(first) = first else {
            return Digits { is_negative: false, digits: &[], count: 0, exponent: 0 };
        };
        let point = point.unwrap_or(end);
        // The power of ten of the last digit: not negative before the point, negative after it.
        let place = if last < point { (point - last - 1) as i64 } else { -((last - point) as i64) };
        let digits = &rest[first..=last];
        let count = digits.len() - usize::from(first < point && point < last);
        Digits { is_negative, digits, count, exponent: place + written_exponent }
    }

    /// The number as an exact decimal with the scale of the literal. `None` if it needs more than
    /// 28 significant digits or more than 28 places.
    pub(super) fn exact_decimal(self) -> Option<Decimal> {
        let exact = self.exact()?;
        if exact.mantissa == 0 {
            return Some(Decimal::new(0, exact.scale.clamp(0, DIGITS_MAX) as u32));
        }
        // Trailing zeros are kept as far as there is room for them.
        let room = DIGITS_MAX - exact.digits - exact.exponent;
        let scale = exact.scale.clamp(0, DIGITS_MAX).min(room);
        let zeros = u32::try_from(scale + exact.exponent).ok().filter(|_| scale >= 0)?;
        let magnitude = i128::try_from(exact.mantissa * 10_u128.pow(zeros)).ok()?;
        let signed = if exact.negative { -magnitude } else { magnitude };
        Decimal::try_from_i128_with_scale(signed, scale as u32).ok()
    }

    /// The number as an integer; `None` if its value is not whole or too large. `10.0000` is whole.
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

    /// The nearest float; `None` if it is infinite.
    pub(super) fn float(self) -> Option<f64> {
        let text = std::str::from_utf8(self.0).ok()?;
        text.parse().ok().filter(|float: &f64| float.is_finite())
    }

    /// The exact value; `None` if there are more than 28 significant digits.
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
                    // The zeros before this digit are not trailing zeros.
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

/// Reads the exponent of a literal. A huge exponent is cut to a number that is still out of every
/// range.
fn read_exponent(text: &[u8]) -> i64 {
    const BEYOND: i64 = 1 << 40;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let magnitude = digits
        .iter()
        .fold(0, |exponent: i64, &digit| (exponent * 10 + i64::from(digit - b'0')).min(BEYOND));
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
        for text in [
            "0",
            "135.0000",
            "-6.6700",
            "0.0001",
            "9999999999999999999999999999",
            "0.0000000000000000000000000001",
        ] {
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
    fn trailing_zeros_without_room_in_a_decimal_are_dropped() {
        let zeros = "0".repeat(100);
        assert_eq!(decimal(&format!("1.{zeros}")), Some(format!("1.{}", &zeros[..27])));
        assert_eq!(decimal(&format!("0.{zeros}")), Some(format!("0.{}", &zeros[..28])));
        assert_eq!(decimal("1e27").as_deref(), Some("1000000000000000000000000000"));
    }

    #[test]
    fn more_digits_than_a_decimal_holds_are_rounded_half_to_even() {
        let zero = format!("0.{}", "0".repeat(28));
        let one = format!("0.{}1", "0".repeat(27));
        for (text, expected) in [
            // The results of 100m / 3 and 200m / 3 in .NET.
            ("33.333333333333333333333333333", "33.333333333333333333333333333"),
            ("66.666666666666666666666666667", "66.666666666666666666666666667"),
            (
                "0.1000000000000000055511151231257827021181583404541015625",
                "0.1000000000000000055511151231",
            ),
            ("99.99999999999999999999999999999", "100.00000000000000000000000000"),
            ("-2.00000000000000000000000000005", "-2.0000000000000000000000000000"),
            ("1.00000000000000000000000000015", "1.0000000000000000000000000002"),
            ("1.00000000000000000000000000025", "1.0000000000000000000000000002"),
            ("1.000000000000000000000000000250001", "1.0000000000000000000000000003"),
            ("10000000000000000000000000001", "10000000000000000000000000001"),
            ("1e28", "10000000000000000000000000000"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
            ("79228162514264337593543950335.4", "79228162514264337593543950335"),
            ("7.92281625142643375935439503365", "7.922816251426433759354395034"),
            ("1e-29", &zero),
            ("1e-999999999999999999999", &zero),
            ("5e-29", &zero),
            ("5.1e-29", &one),
            ("0.00000000000000000000000000015", &one.replace('1', "2")),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "79228162514264337593543950336",
            "79228162514264337593543950335.5",
            "1e29",
            "-1e999999999999999999999",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn an_integer_is_a_value_without_a_fraction() {
        let integer = |text: &str| Literal(text.as_bytes()).integer();
        for (text, expected) in
            [("0", 0), ("-0", 0), ("10.0000", 10), ("-121", -121), ("1e3", 1000), ("1500e-2", 15)]
        {
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
