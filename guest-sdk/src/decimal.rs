//! Exact decimals: `rust_decimal`'s type, and literals for it. Money is never a float.

pub use rust_decimal::Decimal;

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
    let bytes = text.as_bytes();
    let (mut magnitude, mut scale, mut digits): (u128, u32, u32) = (0, 0, 0);
    let (mut negative, mut point) = (false, false);
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'-' if digits == 0 && !point && !negative => negative = true,
            b'.' if !point && digits > 0 => point = true,
            b'_' if digits > 0 => {}
            b' ' if digits == 0 => {}
            digit @ b'0'..=b'9' => {
                magnitude = magnitude * 10 + (digit - b'0') as u128;
                digits += 1;
                scale += point as u32;
                assert!(
                    magnitude < 1 << 96 && scale <= 28,
                    "a decimal has at most 28 digits after the point, and 96 bits"
                );
            }
            _ => panic!("not a decimal: write it like 100.50"),
        }
        at += 1;
    }
    assert!(digits > 0, "not a decimal: write it like 100.50");
    Decimal::from_parts(
        magnitude as u32,
        (magnitude >> 32) as u32,
        (magnitude >> 64) as u32,
        negative && magnitude != 0,
        scale,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_what_its_text_says() {
        for text in
            ["0", "7", "-7", "100.00", "-0.0001", "79228162514264337593543950335", "0.0000000000000000000000000001"]
        {
            let parsed: Decimal = text.parse().unwrap();
            assert_eq!((literal(text), literal(text).scale()), (parsed, parsed.scale()), "{text}");
        }
        assert_eq!(dec!(-1_000.50).to_string(), "-1000.50");
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".5", "1.2.3", "1e5", "five", "1-", "79228162514264337593543950336"] {
            assert!(std::panic::catch_unwind(|| literal(text)).is_err(), "{text}");
        }
    }
}
