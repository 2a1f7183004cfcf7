//! Communications as a rule asks for them: channel, template, and the data that fills it. The recipient is always the
//! event's customer, so there is nothing here to set it with.

use std::collections::BTreeMap;

use crate::collections::Map;
use crate::wire::Writer;
use crate::{Decimal, Timestamp};

/// A communication to ask for with [`Context::send`](crate::Context::send).
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// let message = Sms::template("thanks").data("amount", dec!(135.00)).data("items", 2);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a message goes out when it is given to `ctx.send`"]
pub struct Message<'a> {
    pub(crate) channel: u8,
    pub(crate) template: &'a str,
    /// Keys and values, one after another.
    pub(crate) entries: Writer,
    pub(crate) entry_count: usize,
}

/// Room for the data of most messages, so that filling it in needs memory once.
const ENTRIES_CAPACITY: usize = 120;

impl<'a> Message<'a> {
    /// A message by the channel that SMC calls so (`mail`, `push`, `sms`, `viber`, `chatBot`, `socialNetworks`), where a
    /// parameter chooses it. `None` if there is no such channel: have `#[configure]` refuse it.
    ///
    /// ```
    /// use hailer_sdk::prelude::*;
    /// use hailer_sdk::testing::Sent;
    ///
    /// assert_eq!(Message::by("sms", "thanks").map(Sent::from), Some(Sms::template("thanks").into()));
    /// assert!(Message::by("fax", "thanks").is_none());
    /// ```
    #[must_use]
    pub fn by(channel: &str, template: &'a str) -> Option<Message<'a>> {
        let channel = number_of(channel)?;
        Some(Message { channel, template, entries: Writer::default(), entry_count: 0 })
    }
}

impl Message<'_> {
    /// Fills in one of the template's values. The later of two values under one key counts.
    pub fn data(mut self, key: &str, value: impl Value) -> Self {
        self.entry(key);
        value.write(&mut self.entries);
        self
    }

    #[inline(never)]
    fn entry(&mut self, key: &str) {
        if self.entry_count == 0 {
            self.entries.reserve(ENTRIES_CAPACITY);
        }
        self.entries.str(key);
        self.entry_count += 1;
    }
}

macro_rules! channels {
    ($($(#[$doc:meta])+ $name:ident = $number:literal, $called:literal;)+) => {
        $(
            $(#[$doc])+
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl $name {
                /// A message made from a template of this channel, known to SMC by that name.
                pub fn template(template: &str) -> Message<'_> {
                    Message { channel: $number, template, entries: Writer::new(), entry_count: 0 }
                }
            }
        )+

        fn number_of(channel: &str) -> Option<u8> {
            match channel {
                $($called => Some($number),)+
                _ => None,
            }
        }
    };
}

channels! {
    /// E-mail (`mail`).
    Mail = 0, "mail";
    /// A push message to the customer's device (`push`).
    Push = 1, "push";
    /// A text message (`sms`).
    Sms = 2, "sms";
    /// A Viber message (`viber`).
    Viber = 3, "viber";
    /// A message of the chat bot (`chatBot`).
    ChatBot = 4, "chatBot";
    /// A message in a social network (`socialNetworks`).
    SocialNetworks = 5, "socialNetworks";
}

/// What a template can be filled with: texts, whole numbers, decimals, moments, and options, lists and maps of them.
///
/// A float that isn't finite has no place in JSON and becomes null, like `None`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't fill a template",
    label = "a text, a number, a decimal, a moment, or an option, list or map of them is needed here"
)]
pub trait Value: sealed::Sealed {
    #[doc(hidden)]
    fn write(&self, writer: &mut Writer);
}

mod sealed {
    /// Values are what the ABI can carry; their depth is bounded because no type outside can be one.
    pub trait Sealed {}
}

macro_rules! values {
    ($($(@[$($generics:tt)+])? $type:ty => |$value:ident, $writer:ident| $write:expr;)+) => { $(
        impl$(<$($generics)+>)? sealed::Sealed for $type {}
        impl$(<$($generics)+>)? Value for $type {
            fn write(&self, $writer: &mut Writer) {
                let $value = self;
                $write;
            }
        }
    )+ };
}

values! {
    bool => |value, writer| writer.bool(*value);
    u8 => |value, writer| writer.int(i64::from(*value));
    u16 => |value, writer| writer.int(i64::from(*value));
    u32 => |value, writer| writer.int(i64::from(*value));
    u64 => |value, writer| writer.unsigned(*value);
    usize => |value, writer| writer.unsigned(*value as u64);
    i32 => |value, writer| writer.int(i64::from(*value));
    i64 => |value, writer| writer.int(*value);
    f64 => |value, writer| if value.is_finite() { writer.float(*value) } else { writer.nil() };
    str => |value, writer| writer.str(value);
    String => |value, writer| writer.str(value);
    Decimal => |value, writer| writer.decimal(*value);
    Timestamp => |value, writer| writer.timestamp(*value);
    @[T: Value + ?Sized] &T => |value, writer| (**value).write(writer);
    @[T: Value] Option<T> => |value, writer| match value { Some(value) => value.write(writer), None => writer.nil() };
    @[T: Value] [T] => |values, writer| { writer.array(values.len()); values.iter().for_each(|value| value.write(writer)) };
    @[T: Value] Vec<T> => |values, writer| values.as_slice().write(writer);
    @[T: Value, const N: usize] [T; N] => |values, writer| values.as_slice().write(writer);
    @[K: AsRef<str>, T: Value] Map<K, T> => |map, writer| write_entries(map.len(), map.iter(), writer);
    @[K: AsRef<str>, T: Value] BTreeMap<K, T> => |map, writer| write_entries(map.len(), map.iter(), writer);
}

fn write_entries<'a, K, T>(count: usize, entries: impl Iterator<Item = (&'a K, &'a T)>, writer: &mut Writer)
where
    K: AsRef<str> + 'a,
    T: Value + 'a,
{
    writer.map(count);
    entries.for_each(|(key, value)| {
        writer.str(key.as_ref());
        value.write(writer);
    });
}
