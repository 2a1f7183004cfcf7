//! Exact decimals. Money is never a float.
//!
//! The engine's side uses `rust_decimal`; its arithmetic alone would double a rule module. This is the same range and
//! the same results in a tenth of the code: 96 bits of digits, up to 28 of them after the point. A sum or a product that
//! needs more digits after the point than fit is rounded, half to even; one that is too big panics, as integers do.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};
use core::str::FromStr;

/// An exact decimal: 28 digits, with as many of them after the point as were written. `1.50` and `1.5` are equal.
///
/// Write one with [`dec!`](crate::dec).
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// let price = dec!(19.90);
/// let discount = price * dec!(0.15);
/// assert_eq!(discount, dec!(2.985));
/// assert_eq!(discount.round(2), dec!(2.98));
/// assert_eq!(format!("{:.2}", price - discount), "16.92");
/// assert_eq!((price / dec!(3)).round(4), dec!(6.6333));
/// ```
#[derive(Clone, Copy)]
pub struct Decimal {
    /// Below 2⁹⁶. Zero is never negative.
    magnitude: u128,
    scale: u8,
    negative: bool,
}

/// The most digits after the point.
const SCALE_MAX: u8 = 28;
const MAGNITUDE_MAX: u128 = (1 << 96) - 1;

/// An exact decimal, checked while compiling.
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// assert_eq!(dec!(0.1) + dec!(0.2), dec!(0.3));
/// assert_eq!(dec!(-12.50).to_string(), "-12.50");
/// ```
#[macro_export]
macro_rules! dec {
    ($($literal:tt)+) => {
        const { $crate::generated::literal(stringify!($($literal)+)) }
    };
}

/// The decimal that a literal's text says.
///
/// # Panics
/// When the text is no decimal of at most 28 digits after the point and 96 bits; in a constant, that is a compile error.
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
            // `stringify!` may put one behind the sign.
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

impl Decimal {
    pub const ZERO: Decimal = Decimal { magnitude: 0, scale: 0, negative: false };
    pub const ONE: Decimal = Decimal { magnitude: 1, scale: 0, negative: false };

    /// Digits after the point, as written or calculated.
    #[must_use]
    pub const fn scale(self) -> u32 {
        self.scale as u32
    }

    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.magnitude == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// Whether it is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.magnitude != 0 && !self.negative
    }

    #[must_use]
    pub const fn abs(self) -> Decimal {
        Decimal { negative: false, ..self }
    }

    /// Rounded to so many digits after the point, half to even.
    #[must_use]
    pub fn round(self, digits: u32) -> Decimal {
        self.shortened(digits, Rounding::HalfEven)
    }

    /// Cut off after so many digits behind the point, towards zero.
    #[must_use]
    pub fn truncate(self, digits: u32) -> Decimal {
        self.shortened(digits, Rounding::TowardsZero)
    }

    /// The whole number nearest to it that is not above it.
    ///
    /// `None` if it doesn't fit.
    #[must_use]
    pub fn floor(self) -> Option<i64> {
        let whole = self.truncate(0);
        let below = self.negative && whole != self;
        let magnitude = i128::try_from(whole.magnitude).ok()?;
        i64::try_from(if self.negative { -magnitude } else { magnitude } - i128::from(below)).ok()
    }

    pub(crate) const fn magnitude(self) -> u128 {
        self.magnitude
    }

    pub(crate) const fn from_wire(magnitude: u128, scale: u8, negative: bool) -> Self {
        Self { magnitude, scale, negative }
    }

    fn shortened(self, digits: u32, rounding: Rounding) -> Decimal {
        let mut shorter = self;
        let mut dropped = Dropped::default();
        while u32::from(shorter.scale) > digits {
            shorter.drop_digit(&mut dropped);
        }
        shorter.magnitude += u128::from(rounding == Rounding::HalfEven && dropped.rounds_up(shorter.magnitude));
        shorter.normalised_sign()
    }

    fn drop_digit(&mut self, dropped: &mut Dropped) {
        let (rest, digit) = divide_by_ten(self.magnitude);
        dropped.push(digit);
        self.magnitude = rest;
        self.scale -= 1;
    }

    const fn normalised_sign(self) -> Self {
        Self { negative: self.negative && self.magnitude != 0, ..self }
    }

    /// The sum, rounded if its digits don't fit.
    #[inline(never)]
    fn plus(self, other: Decimal) -> Decimal {
        let (mut fine, mut coarse) = if self.scale >= other.scale { (self, other) } else { (other, self) };
        // Equal scales first: digits are added to the coarser one while they fit, then taken from the finer one.
        while coarse.scale < fine.scale && coarse.magnitude <= MAGNITUDE_MAX / 10 {
            coarse.magnitude *= 10;
            coarse.scale += 1;
        }
        let mut dropped = Dropped::default();
        while fine.scale > coarse.scale {
            fine.drop_digit(&mut dropped);
        }
        fine.magnitude += u128::from(dropped.rounds_up(fine.magnitude));
        let mut sum = if fine.negative == coarse.negative {
            Decimal { magnitude: fine.magnitude + coarse.magnitude, ..fine }
        } else if fine.magnitude >= coarse.magnitude {
            Decimal { magnitude: fine.magnitude - coarse.magnitude, ..fine }
        } else {
            Decimal { magnitude: coarse.magnitude - fine.magnitude, ..coarse }
        };
        sum.fit();
        sum.normalised_sign()
    }

    /// The product, rounded if its digits don't fit.
    #[inline(never)]
    fn times(self, other: Decimal) -> Decimal {
        // 96 by 96 bits in halves of 48: the low part of 128 bits, and what stands above it.
        let (left, right) = (self.magnitude, other.magnitude);
        let negative = self.negative != other.negative;
        let mut scale = self.scale + other.scale;
        let mut dropped = Dropped::default();
        let mut magnitude = match left.checked_mul(right) {
            Some(product) => product,
            None => {
                let (mut high, mut low) = wide_product(left, right);
                while high > 0 {
                    if scale == 0 {
                        overflow();
                    }
                    let digit;
                    (high, low, digit) = wide_divide_by_ten(high, low);
                    dropped.push(digit);
                    scale -= 1;
                }
                low
            }
        };
        while magnitude > MAGNITUDE_MAX || scale > SCALE_MAX {
            if scale == 0 {
                overflow();
            }
            let (rest, digit) = divide_by_ten(magnitude);
            dropped.push(digit);
            magnitude = rest;
            scale -= 1;
        }
        magnitude += u128::from(dropped.rounds_up(magnitude));
        let mut product = Decimal { magnitude, scale, negative };
        product.fit();
        product.normalised_sign()
    }

    /// The quotient to as many digits as fit, rounded.
    #[inline(never)]
    fn over(self, other: Decimal) -> Decimal {
        assert!(other.magnitude != 0, "a decimal is divided by zero");
        let (mut quotient, mut rest) = (self.magnitude / other.magnitude, self.magnitude % other.magnitude);
        let mut scale = i32::from(self.scale) - i32::from(other.scale);
        // One digit at a time, as on paper: the rest is below 2⁹⁶, so ten times the rest fits.
        while scale < 0 || rest != 0 && scale < i32::from(SCALE_MAX) && quotient <= (MAGNITUDE_MAX - 9) / 10 {
            if quotient > (MAGNITUDE_MAX - 9) / 10 {
                overflow();
            }
            rest *= 10;
            quotient = quotient * 10 + rest / other.magnitude;
            rest %= other.magnitude;
            scale += 1;
        }
        let half = (rest * 2).cmp(&other.magnitude);
        quotient += u128::from(half == Ordering::Greater || half == Ordering::Equal && quotient % 2 == 1);
        let mut quotient =
            Decimal { magnitude: quotient, scale: scale as u8, negative: self.negative != other.negative };
        quotient.fit();
        quotient.normalised_sign()
    }

    /// Takes digits off until the magnitude has its 96 bits.
    fn fit(&mut self) {
        while self.magnitude > MAGNITUDE_MAX {
            if self.scale == 0 {
                overflow();
            }
            let mut dropped = Dropped::default();
            self.drop_digit(&mut dropped);
            self.magnitude += u128::from(dropped.rounds_up(self.magnitude));
        }
    }

    #[inline(never)]
    fn compare(self, other: Decimal) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => return Ordering::Greater,
            (true, false) => return Ordering::Less,
            _ => {}
        }
        let (mut left, mut right) = (self, other);
        // The coarser one gets digits while they fit; if they don't, it is the bigger one by far.
        while left.scale < right.scale && left.magnitude <= MAGNITUDE_MAX {
            (left.magnitude, left.scale) = (left.magnitude * 10, left.scale + 1);
        }
        while right.scale < left.scale && right.magnitude <= MAGNITUDE_MAX {
            (right.magnitude, right.scale) = (right.magnitude * 10, right.scale + 1);
        }
        let order = left.magnitude.cmp(&right.magnitude);
        if self.negative { order.reverse() } else { order }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    HalfEven,
    TowardsZero,
}

/// Digits that were taken off: the last one, and whether any before it was not zero.
#[derive(Clone, Copy, Default)]
struct Dropped {
    digit: u8,
    more: bool,
}

impl Dropped {
    fn push(&mut self, digit: u8) {
        self.more |= self.digit != 0;
        self.digit = digit;
    }

    /// Half to even: whether what is left becomes one more.
    fn rounds_up(self, left: u128) -> bool {
        self.digit > 5 || self.digit == 5 && (self.more || left % 2 == 1)
    }
}

#[cold]
#[inline(never)]
fn overflow() -> ! {
    panic!("a decimal is too big")
}

/// Quotient and remainder. In steps of 32 bits: a division of 128 bits costs a kilobyte of code.
fn divide_by_ten(value: u128) -> (u128, u8) {
    let (mut quotient, mut rest) = (0, 0);
    for shift in [96, 64, 32, 0] {
        let part = rest << 32 | u64::from((value >> shift) as u32);
        quotient = quotient << 32 | u128::from(part / 10);
        rest = part % 10;
    }
    (quotient, rest as u8)
}

/// The product of two magnitudes: the bits from 128 on, and those below.
fn wide_product(left: u128, right: u128) -> (u128, u128) {
    const HALF: u128 = (1 << 64) - 1;
    let (left_high, left_low) = (left >> 64, left & HALF);
    let (right_high, right_low) = (right >> 64, right & HALF);
    let low = left_low * right_low;
    let middle = left_high * right_low + left_low * right_high + (low >> 64);
    (left_high * right_high + (middle >> 64), middle << 64 | low & HALF)
}

/// A wide number divided by ten: its two parts, and the remainder.
fn wide_divide_by_ten(high: u128, low: u128) -> (u128, u128, u8) {
    let (high, mut rest) = divide_by_ten(high);
    let mut quotient = 0;
    for shift in [96, 64, 32, 0] {
        let part = u64::from(rest) << 32 | u64::from((low >> shift) as u32);
        quotient = quotient << 32 | u128::from(part / 10);
        rest = (part % 10) as u8;
    }
    (high, quotient, rest)
}

impl Add for Decimal {
    type Output = Decimal;

    fn add(self, other: Decimal) -> Decimal {
        self.plus(other)
    }
}

impl Sub for Decimal {
    type Output = Decimal;

    fn sub(self, other: Decimal) -> Decimal {
        self.plus(-other)
    }
}

impl Mul for Decimal {
    type Output = Decimal;

    fn mul(self, other: Decimal) -> Decimal {
        self.times(other)
    }
}

/// # Panics
/// When divided by zero.
impl Div for Decimal {
    type Output = Decimal;

    fn div(self, other: Decimal) -> Decimal {
        self.over(other)
    }
}

impl Neg for Decimal {
    type Output = Decimal;

    fn neg(self) -> Decimal {
        Decimal { negative: !self.negative, ..self }.normalised_sign()
    }
}

impl AddAssign for Decimal {
    fn add_assign(&mut self, other: Decimal) {
        *self = *self + other;
    }
}

impl SubAssign for Decimal {
    fn sub_assign(&mut self, other: Decimal) {
        *self = *self - other;
    }
}

impl MulAssign for Decimal {
    fn mul_assign(&mut self, other: Decimal) {
        *self = *self * other;
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Decimal>>(values: I) -> Decimal {
        values.fold(Decimal::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Decimal> for Decimal {
    fn sum<I: Iterator<Item = &'a Decimal>>(values: I) -> Decimal {
        values.copied().sum()
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.compare(*other).is_eq()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        self.compare(*other)
    }
}

/// Equal decimals hash alike, however many zeros they end with.
impl Hash for Decimal {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut shortest = *self;
        while shortest.scale > 0 {
            let (rest, digit) = divide_by_ten(shortest.magnitude);
            if digit != 0 {
                break;
            }
            (shortest.magnitude, shortest.scale) = (rest, shortest.scale - 1);
        }
        (shortest.magnitude, shortest.scale, shortest.negative).hash(hasher);
    }
}

impl Default for Decimal {
    fn default() -> Decimal {
        Decimal::ZERO
    }
}

macro_rules! from_integers {
    ($($type:ty),+) => { $(
        impl From<$type> for Decimal {
            fn from(value: $type) -> Decimal {
                let value = value as i128;
                Decimal { magnitude: value.unsigned_abs(), scale: 0, negative: value < 0 }
            }
        }
    )+ };
}

from_integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64);

/// A text is no decimal, or one of too many digits.
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

/// With the digits that it has, or with those that the precision asks for: `{:.2}`.
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

/// A number's text, from its last letter to its first: a sign, 29 digits, a point, and 28 zeros that a precision adds. A
/// letter too many would be lost and not a panic, whose code every module would have to carry.
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

#[cfg(test)]
mod tests;
