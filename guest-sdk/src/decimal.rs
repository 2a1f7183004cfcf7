//! Exact decimals. Money is never a float.
//!
//! The engine's side uses `rust_decimal`; its arithmetic alone would double a rule module. This is the same range and
//! the same results in a tenth of the code: 96 bits of digits, up to 28 of them after the point. A sum or a product that
//! needs more digits after the point than fit is rounded, half to even; one that is too big panics, as integers do.

use core::cmp::Ordering;
use core::hash::{Hash, Hasher};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod arithmetic;
mod text;

pub use text::{InvalidDecimal, literal};

use arithmetic::{Rounding, divide_by_ten};

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

#[cfg(test)]
mod tests;
