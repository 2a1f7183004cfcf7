//! Numbers, exactly as their literals write them where a decimal holds that, and else rounded once. Nothing goes through a float unless a float was
//! asked for.

use rust_decimal::Decimal;

/// The text of a number that the scanner has validated.
#[derive(Clone, Copy)]
pub(super) struct Literal<'a>(pub(super) &'a [u8]);

/// The most significant digits of which a decimal holds all numbers, and its largest scale.
const DIGITS_MAX: i64 = 28;
/// Of 29 digits, a decimal holds those numbers that 96 bits do.
const DIGITS_ROUNDED_MAX: i64 = 29;
const MAGNITUDE_MAX: i128 = (1 << 96) - 1;

/// The digits of a literal: `digits` × 10^`exponent`, with no zero at either end.
#[derive(Clone, Copy)]
pub(super) struct Digits<'a> {
    pub(super) is_negative: bool,
    /// With the point, if it lies between them.
    digits: &'a [u8],
    pub(super) count: usize,
    pub(super) exponent: i64,
}

impl Digits<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        self.digits.iter().copied().filter(|byte| *byte != b'.')
    }

    /// The first digits as an integer, with zeros behind them if there are fewer, rounded by what follows, half to even.
    fn rounded_to(&self, count: i64) -> i128 {
        if count < 0 {
            return 0;
        }
        let mut digits = self.iter();
        let mut next = || digits.next().unwrap_or(b'0');
        let first = (0..count).fold(0_i128, |number, _| number * 10 + i128::from(next() - b'0'));
        let dropped = next();
        let is_up = match dropped {
            // Zeros at the end are none of these digits.
            b'5' => first % 2 == 1 || digits.next().is_some(),
            dropped => dropped > b'5',
        };
        first + i128::from(is_up)
    }
}

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
    /// The number as a decimal: exact where 28 significant digits and 28 places hold it, else rounded to what 96 bits and 28 places hold, half to
    /// even. `None` if it is too large for them.
    pub(super) fn decimal(self) -> Option<Decimal> {
        self.exact_decimal().or_else(|| self.rounded_decimal())
    }

    fn rounded_decimal(self) -> Option<Decimal> {
        let digits = self.significant_digits();
        // Digits before the point, and written ones after it.
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

    /// The digits without zeros at either end; none of zero.
    pub(super) fn significant_digits(&self) -> Digits<'_> {
        let (is_negative, rest) = match self.0.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, self.0),
        };
        let end = rest.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(rest.len());
        let written_exponent = rest.get(end + 1..).map_or(0, read_exponent);
        let digits = &rest[..end];
        let is_significant = |byte: &u8| matches!(byte, b'1'..=b'9');
        let (Some(first), Some(last)) =
            (digits.iter().position(is_significant), digits.iter().rposition(is_significant))
        else {
            return Digits { is_negative: false, digits: &[], count: 0, exponent: 0 };
        };
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(end);
        // The power of ten of the last digit: those before the point count up to it, those after it down.
        let place = if last < point { (point - last - 1) as i64 } else { -((last - point) as i64) };
        let digits = &digits[first..=last];
        let count = digits.iter().filter(|byte| **byte != b'.').count();
        Digits { is_negative, digits, count, exponent: place + written_exponent }
    }

    /// The number as an exact decimal, with the scale that the literal has; `None` if it needs more than 28 significant digits, or more than
    /// 28 places.
    pub(super) fn exact_decimal(self) -> Option<Decimal> {
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
        assert_eq!(decimal("1e27").as_deref(), Some("1000000000000000000000000000"));
    }

    #[test]
    fn more_digits_than_a_decimal_holds_are_rounded_half_to_even() {
        let zero = format!("0.{}", "0".repeat(28));
        let one = format!("0.{}1", "0".repeat(27));
        for (text, expected) in [
            // What .NET makes of 100m / 3 and 200m / 3.
            ("33.333333333333333333333333333", "33.333333333333333333333333333"),
            ("66.666666666666666666666666667", "66.666666666666666666666666667"),
            ("0.1000000000000000055511151231257827021181583404541015625", "0.1000000000000000055511151231"),
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
        for text in
            ["79228162514264337593543950336", "79228162514264337593543950335.5", "1e29", "-1e999999999999999999999"]
        {
            assert_eq!(decimal(text), None, "{text}");
        }
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
