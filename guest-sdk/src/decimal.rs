//! Exact decimals. Money is never a float.
//!
//! The engine uses `rust_decimal`, whose arithmetic alone would double the size of a rule module.
//! This type has the same range and the same results with a tenth of the code: 96 bits of digits,
//! up to 28 of them after the point. A sum or a product with more digits after the point than fit
//! is rounded, half to even. A result that is too large panics, as integer overflow does.

use core::cmp::Ordering;
use core::hash::{Hash, Hasher};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod arithmetic;
mod text;

pub use text::{InvalidDecimal, literal};

use arithmetic::{Rounding, divide_by_ten};

/// An exact decimal of 28 digits, up to 28 of them after the point. It keeps the number of digits
/// after the point that were written, but `1.50` and `1.5` are equal.
///
/// Write a constant with [`dec!`](crate::dec).
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
    /// The digits without the point; below 2⁹⁶.
    magnitude: u128,
    scale: u8,
    /// Always false for zero.
    negative: bool,
}

/// The largest number of digits after the point.
const SCALE_MAX: u8 = 28;
const MAGNITUDE_MAX: u128 = (1 << 96) - 1;

/// Makes a [`Decimal`](crate::Decimal) constant. The literal is checked at compile time.
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

impl Decimal {
    pub const ZERO: Decimal = Decimal { magnitude: 0, scale: 0, negative: false };
    pub const ONE: Decimal = Decimal { magnitude: 1, scale: 0, negative: false };

    /// The number of digits after the point, as written or calculated.
    #[must_use]
    pub const fn scale(self) -> u32 {
        self.scale as u32
    }

    /// Whether the decimal is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.magnitude == 0
    }

    /// Whether the decimal is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// Whether the decimal is above zero.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.magnitude != 0 && !self.negative
    }

    /// The decimal without its sign.
    #[must_use]
    pub const fn abs(self) -> Decimal {
        Decimal { negative: false, ..self }
    }

    /// Rounds to this number of digits after the point, half to even.
    #[must_use]
    pub fn round(self, digits: u32) -> Decimal {
        self.shortened(digits, Rounding::HalfEven)
    }

    /// Truncates to this number of digits after the point, towards zero.
    #[must_use]
    pub fn truncate(self, digits: u32) -> Decimal {
        self.shortened(digits, Rounding::TowardsZero)
    }

    /// The largest whole number that is not above this decimal.
    ///
    /// `None` if it does not fit an `i64`.
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

/// Equal decimals have equal hashes: trailing zeros do not count.
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

#[cfg(test)]
mod tests;
