//! The numbers of the wire format (`docs/abi.md`), and the 16 bytes of a decimal.

use rust_decimal::Decimal;

/// MessagePack extension type of a decimal.
pub const EXT_DECIMAL: i8 = 1;
/// MessagePack extension type of a timestamp: eight bytes, milliseconds since 1970-01-01 UTC, signed, big-endian.
pub const EXT_TIMESTAMP: i8 = 2;

/// Kinds of actions.
pub const ACTION_SEND: u64 = 1;
pub const ACTION_NOTE: u64 = 2;
pub const ACTION_SCHEDULE: u64 = 3;
pub const ACTION_CANCEL: u64 = 4;

/// Kinds of moments that a timer can be scheduled for.
pub const WHEN_AFTER: u64 = 0;
pub const WHEN_AT: u64 = 1;
pub const WHEN_IN_DAYS: u64 = 2;
pub const WHEN_ON: u64 = 3;
pub const WHEN_EVERY_YEAR_ON: u64 = 4;

/// The most actions that one outcome may hold.
pub const ACTIONS_MAX: usize = 64;
/// The deepest nesting of a communication's data.
pub const DATA_DEPTH_MAX: usize = 16;

/// Levels of `hailer.log`. [`LOG_PANIC`] is the text of a panic.
pub const LOG_PANIC: i32 = 0;
pub const LOG_ERROR: i32 = 1;
pub const LOG_WARN: i32 = 2;
pub const LOG_INFO: i32 = 3;
pub const LOG_DEBUG: i32 = 4;

/// SMC's channels; the discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    Mail = 0,
    Push = 1,
    Sms = 2,
    Viber = 3,
    ChatBot = 4,
    SocialNetworks = 5,
}

impl Channel {
    pub const ALL: [Channel; 6] =
        [Channel::Mail, Channel::Push, Channel::Sms, Channel::Viber, Channel::ChatBot, Channel::SocialNetworks];

    /// The channel of a number on the wire.
    #[must_use]
    pub fn from_wire(number: u64) -> Option<Channel> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The name that SMC gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Channel::Mail => "mail",
            Channel::Push => "push",
            Channel::Sms => "sms",
            Channel::Viber => "viber",
            Channel::ChatBot => "chatBot",
            Channel::SocialNetworks => "socialNetworks",
        }
    }
}

/// Length of a decimal on the wire.
pub const DECIMAL_LEN: usize = 16;

/// The wire form of a decimal.
#[must_use]
pub fn decimal_to_wire(value: Decimal) -> [u8; DECIMAL_LEN] {
    let magnitude = value.mantissa().unsigned_abs().to_le_bytes();
    let mut bytes = [0; DECIMAL_LEN];
    bytes[..12].copy_from_slice(&magnitude[..12]);
    bytes[12] = value.scale() as u8;
    bytes[13] = u8::from(value.is_sign_negative() && !value.is_zero());
    bytes
}

/// The decimal of a wire form; `None` if a byte is out of range.
#[inline]
#[must_use]
pub fn decimal_from_wire(bytes: [u8; DECIMAL_LEN]) -> Option<Decimal> {
    let digits = digits_from_wire(bytes)?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some(Decimal::from_parts(word(0), word(4), word(8), digits.mantissa < 0, digits.scale))
}

/// A number as its digits, and how many of them stand after the point: what it is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Of 96 bits and a sign.
    pub mantissa: i128,
    /// At most 28.
    pub scale: u32,
}

/// The digits of a decimal's wire form; `None` if a byte is out of range.
#[inline]
#[must_use]
pub fn digits_from_wire(bytes: [u8; DECIMAL_LEN]) -> Option<Digits> {
    let whole = u128::from_le_bytes(bytes);
    let magnitude = (whole & (u128::MAX >> 32)).cast_signed();
    let [scale, sign, zeros @ ..] = ((whole >> 96) as u32).to_le_bytes();
    let mantissa = match sign {
        0 => magnitude,
        1 if magnitude != 0 => -magnitude,
        _ => return None,
    };
    (scale <= 28 && zeros == [0, 0]).then_some(Digits { mantissa, scale: u32::from(scale) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_comes_back_with_its_scale_and_sign() {
        for text in ["0", "135.0000", "-6.6700", "79228162514264337593543950335", "-0.0000000000000000000000000001"] {
            let value: Decimal = text.parse().unwrap();
            let back = decimal_from_wire(decimal_to_wire(value)).unwrap();
            assert_eq!((back, back.scale()), (value, value.scale()), "{text}");
        }
    }

    #[test]
    fn bytes_that_no_decimal_has_are_refused() {
        for (at, byte) in [(12, 29), (13, 2), (14, 1), (15, 1)] {
            let mut bytes = decimal_to_wire(Decimal::ONE);
            bytes[at] = byte;
            assert_eq!(decimal_from_wire(bytes), None, "byte {at}");
        }
        let mut negative_zero = [0; DECIMAL_LEN];
        negative_zero[13] = 1;
        assert_eq!(decimal_from_wire(negative_zero), None);
    }
}
