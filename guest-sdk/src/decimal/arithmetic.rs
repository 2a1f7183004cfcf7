//! Sums, products, quotients, comparison and rounding, one decimal digit at a time. This is small
//! code, and slow only for numbers with far more digits than a price has.

use core::cmp::Ordering;

use super::{Decimal, MAGNITUDE_MAX, SCALE_MAX};

impl Decimal {
    #[inline(never)]
    pub(super) fn shortened(self, digits: u32, rounding: Rounding) -> Decimal {
        let mut shorter = self;
        let mut dropped = Dropped::default();
        while u32::from(shorter.scale) > digits {
            shorter.drop_digit(&mut dropped);
        }
        shorter.magnitude +=
            u128::from(rounding == Rounding::HalfEven && dropped.rounds_up(shorter.magnitude));
        shorter.normalised_sign()
    }

    fn drop_digit(&mut self, dropped: &mut Dropped) {
        let (rest, digit) = divide_by_ten(self.magnitude);
        dropped.push(digit);
        self.magnitude = rest;
        self.scale -= 1;
    }

    pub(super) const fn normalised_sign(self) -> Self {
        Self { negative: self.negative && self.magnitude != 0, ..self }
    }

    /// The sum, rounded if its digits do not fit.
    #[inline(never)]
    pub(super) fn plus(self, other: Decimal) -> Decimal {
        let (mut fine, mut coarse) =
            if self.scale >= other.scale { (self, other) } else { (other, self) };
        // Make the scales equal first: append zeros to the coarser number while they fit, then drop
        // digits of the finer one.
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

    /// The product, rounded if its digits do not fit.
    #[inline(never)]
    pub(super) fn times(self, other: Decimal) -> Decimal {
        let (left, right) = (self.magnitude, other.magnitude);
        let negative = self.negative != other.negative;
        let mut scale = self.scale + other.scale;
        let mut dropped = Dropped::default();
        let mut magnitude = match left.checked_mul(right) {
            Some(product) => product,
            // The product has up to 192 bits: drop digits until it fits 128.
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

    /// The quotient with as many digits as fit, rounded.
    #[inline(never)]
    pub(super) fn over(self, other: Decimal) -> Decimal {
        assert!(other.magnitude != 0, "a decimal is divided by zero");
        let (mut quotient, mut rest) =
            (self.magnitude / other.magnitude, self.magnitude % other.magnitude);
        let mut scale = i32::from(self.scale) - i32::from(other.scale);
        // Long division, one digit at a time: the rest is below 2⁹⁶, so ten times the rest fits.
        while scale < 0
            || rest != 0 && scale < i32::from(SCALE_MAX) && quotient <= (MAGNITUDE_MAX - 9) / 10
        {
            if quotient > (MAGNITUDE_MAX - 9) / 10 {
                overflow();
            }
            rest *= 10;
            quotient = quotient * 10 + rest / other.magnitude;
            rest %= other.magnitude;
            scale += 1;
        }
        let half = (rest * 2).cmp(&other.magnitude);
        quotient +=
            u128::from(half == Ordering::Greater || half == Ordering::Equal && quotient % 2 == 1);
        let mut quotient = Decimal {
            magnitude: quotient,
            scale: scale as u8,
            negative: self.negative != other.negative,
        };
        quotient.fit();
        quotient.normalised_sign()
    }

    /// Drops digits, rounding, until the magnitude fits 96 bits.
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
    pub(super) fn compare(self, other: Decimal) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => return Ordering::Greater,
            (true, false) => return Ordering::Less,
            _ => {}
        }
        let (mut left, mut right) = (self, other);
        // The coarser number gets zeros appended while they fit. If they do not fit, it is by far
        // the larger one.
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
pub(super) enum Rounding {
    HalfEven,
    TowardsZero,
}

/// The dropped digits: the last one dropped, and whether any dropped before it was not zero.
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

    /// Whether rounding half to even adds one to the remaining digits.
    fn rounds_up(self, left: u128) -> bool {
        self.digit > 5 || self.digit == 5 && (self.more || left % 2 == 1)
    }
}

#[cold]
#[inline(never)]
fn overflow() -> ! {
    panic!("a decimal is too big")
}

/// Divides by ten: quotient and remainder. The division goes in steps of 32 bits, because a 128-bit
/// division adds a kilobyte of code. Prices fit in 64 bits.
#[inline(never)]
pub(super) fn divide_by_ten(value: u128) -> (u128, u8) {
    if let Ok(small) = u64::try_from(value) {
        return (u128::from(small / 10), (small % 10) as u8);
    }
    let (mut quotient, mut rest) = (0, 0);
    for shift in [96, 64, 32, 0] {
        let part = rest << 32 | u64::from((value >> shift) as u32);
        quotient = quotient << 32 | u128::from(part / 10);
        rest = part % 10;
    }
    (quotient, rest as u8)
}

/// The product of two magnitudes: the bits from 128 up, and the lower 128 bits.
fn wide_product(left: u128, right: u128) -> (u128, u128) {
    const HALF: u128 = (1 << 64) - 1;
    let (left_high, left_low) = (left >> 64, left & HALF);
    let (right_high, right_low) = (right >> 64, right & HALF);
    let low = left_low * right_low;
    let middle = left_high * right_low + left_low * right_high + (low >> 64);
    (left_high * right_high + (middle >> 64), middle << 64 | low & HALF)
}

/// Divides a 256-bit number by ten: the two halves of the quotient, and the remainder.
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
