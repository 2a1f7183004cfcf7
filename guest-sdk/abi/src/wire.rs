//! The constants of the wire format (`docs/abi.md`), and the encoding of decimals.

use rust_decimal::Decimal;

/// The MessagePack extension type of a decimal.
pub const EXT_DECIMAL: i8 = 1;
/// The MessagePack extension type of a timestamp. A timestamp is milliseconds since 1970-01-01 UTC,
/// in eight bytes, signed, big-endian.
pub const EXT_TIMESTAMP: i8 = 2;

/// The kinds of actions.
pub const ACTION_SEND: u64 = 1;
pub const ACTION_NOTE: u64 = 2;
pub const ACTION_SCHEDULE: u64 = 3;
pub const ACTION_CANCEL: u64 = 4;

/// The kinds of due times of a timer.
pub const WHEN_AFTER: u64 = 0;
pub const WHEN_AT: u64 = 1;
pub const WHEN_IN_DAYS: u64 = 2;
pub const WHEN_ON: u64 = 3;
pub const WHEN_EVERY_YEAR_ON: u64 = 4;

/// The largest number of actions in one outcome.
pub const ACTIONS_MAX: usize = 64;
/// The largest depth of a communication's data.
pub const DATA_DEPTH_MAX: usize = 16;

/// The levels of `hailer.log`. A line of level [`LOG_PANIC`] is the message of a panic.
pub const LOG_PANIC: i32 = 0;
pub const LOG_ERROR: i32 = 1;
pub const LOG_WARN: i32 = 2;
pub const LOG_INFO: i32 = 3;
pub const LOG_DEBUG: i32 = 4;

macro_rules! channels {
    ($($(#[doc = $doc:literal])+ $channel:ident = $number:literal, $name:literal;)+) => {
        /// The channels of SMC. The discriminant is the number on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Channel {
            $($(#[doc = $doc])+ $channel = $number,)+
        }

        impl Channel {
            /// All channels, each at the index that is its number on the wire.
            pub const ALL: [Channel; Channel::NAMES.len()] = [$(Channel::$channel,)+];
            /// The names of all channels in SMC, in the order of [`Channel::ALL`].
            pub const NAMES: &'static [&'static str] = &[$($name,)+];

            /// The name of the channel in SMC.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Channel::$channel => $name,)+
                }
            }

            /// The name of the channel's type in the SDK.
            #[must_use]
            pub const fn type_name(self) -> &'static str {
                match self {
                    $(Channel::$channel => stringify!($channel),)+
                }
            }

            /// The documentation of the channel's type in the SDK.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Channel::$channel => concat!($($doc),+),)+
                }
            }
        }
    };
}

// The list of the channels in code: a type of the SDK, a number on the wire, a name in SMC. What
// else a new one needs stands in CONTRIBUTING.md. Each channel has the next number, so that the
// number is the index in `ALL`.
channels! {
    /// E-mail (`mail`).
    Mail = 0, "mail";
    /// A push notification to the customer's device (`push`).
    Push = 1, "push";
    /// A text message (`sms`).
    Sms = 2, "sms";
    /// A Viber message (`viber`).
    Viber = 3, "viber";
    /// A message from the chat bot (`chatBot`).
    ChatBot = 4, "chatBot";
    /// A message in a social network (`socialNetworks`).
    SocialNetworks = 5, "socialNetworks";
}

impl Channel {
    /// The channel with this number on the wire; `None` if there is none.
    #[must_use]
    pub fn from_wire(number: u64) -> Option<Channel> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// The length of a decimal on the wire, in bytes, without the extension header.
pub const DECIMAL_LEN: usize = 16;

/// Encodes a decimal for the wire.
#[must_use]
pub fn decimal_to_wire(value: Decimal) -> [u8; DECIMAL_LEN] {
    let magnitude = value.mantissa().unsigned_abs().to_le_bytes();
    let mut bytes = [0; DECIMAL_LEN];
    bytes[..12].copy_from_slice(&magnitude[..12]);
    bytes[12] = value.scale() as u8;
    bytes[13] = u8::from(value.is_sign_negative() && !value.is_zero());
    bytes
}

/// Decodes a decimal; `None` if a byte is out of range.
#[inline]
#[must_use]
pub fn decimal_from_wire(bytes: [u8; DECIMAL_LEN]) -> Option<Decimal> {
    let digits = digits_from_wire(bytes)?;
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some(Decimal::from_parts(word(0), word(4), word(8), digits.mantissa < 0, digits.scale))
}

/// A number as an integer and a scale, which is the form in which conditions compare numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// All digits, with the sign; the magnitude has at most 96 bits.
    pub mantissa: i128,
    /// The number of digits after the point; at most 28.
    pub scale: u32,
}

/// Decodes the digits of a decimal; `None` if a byte is out of range.
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
    use crate::catalogue::event_named;

    #[test]
    fn a_channel_has_its_number_as_its_index() {
        for (index, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel as usize, index);
            assert_eq!(Channel::from_wire(index as u64), Some(channel));
            assert_eq!(channel.name(), Channel::NAMES[index]);
            assert!(channel.doc().contains(&format!("`{}`", channel.name())), "{channel:?}");
        }
        assert_eq!(Channel::from_wire(Channel::ALL.len() as u64), None);
    }

    #[test]
    fn a_change_of_subscriptions_has_a_field_for_every_channel() {
        let fields = event_named("SubscriptionChanged").unwrap().fields;
        for name in Channel::NAMES {
            let path = format!("/subscriptionInfo/{name}");
            let is_there = fields.iter().any(|field| field.paths.contains(&&*path));
            assert!(is_there, "the catalogue has no field for {path}");
        }
    }

    #[test]
    fn the_documentation_lists_all_channels() {
        let page = |name: &str| {
            let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let listed = |one: fn((usize, &&str)) -> String| {
            Channel::NAMES.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
        };
        let numbered = format!("channel an int ({})", listed(|(at, name)| format!("{at} {name}")));
        assert!(page("abi.md").contains(&numbered), "docs/abi.md should say: {numbered}");
        let named = format!("`channel` is one of {}.", listed(|(_, name)| format!("`{name}`")));
        let found = page("operations/sources-and-sinks.md").contains(&named);
        assert!(found, "docs/operations/sources-and-sinks.md should say: {named}");
    }

    #[test]
    fn a_decimal_keeps_its_scale_and_sign() {
        for text in [
            "0",
            "135.0000",
            "-6.6700",
            "79228162514264337593543950335",
            "-0.0000000000000000000000000001",
        ] {
            let value: Decimal = text.parse().unwrap();
            let back = decimal_from_wire(decimal_to_wire(value)).unwrap();
            assert_eq!((back, back.scale()), (value, value.scale()), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_decimal_are_refused() {
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
