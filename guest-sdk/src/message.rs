//! Communications as a rule requests them: channel, template, and the data for it. The recipient is
//! always the event's customer, so a rule cannot set it.

use std::collections::BTreeMap;

use crate::channels::number_of;
use crate::collections::Map;
use crate::wire::Writer;
use crate::{Decimal, Timestamp};

/// A communication, to be requested with [`Context::send`](crate::Context::send).
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// let message = Sms::template("thanks").data("amount", dec!(135.00)).data("items", 2);
/// ```
#[derive(Clone, Debug)]
#[must_use = "pass the message to `ctx.send`, or it is not sent"]
pub struct Message<'a> {
    pub(crate) channel: u8,
    pub(crate) template: &'a str,
    /// The data: keys and values alternate.
    pub(crate) entries: Writer,
    pub(crate) entry_count: usize,
}

/// Room for the data of most messages, in bytes, so that adding data allocates once.
const ENTRIES_CAPACITY: usize = 120;

impl<'a> Message<'a> {
    /// A message for a channel that a parameter chooses by SMC's name for it. The documentation of
    /// each channel's type has that name: `chatBot` for [`ChatBot`](crate::ChatBot). `None` if
    /// there is no such channel; let `#[configure]` refuse the parameter then.
    ///
    /// ```
    /// use hailer_sdk::prelude::*;
    /// use hailer_sdk::testing::Sent;
    ///
    /// let message = Message::by("sms", "thanks").map(Sent::from);
    /// assert_eq!(message, Some(Sms::template("thanks").into()));
    /// assert!(Message::by("fax", "thanks").is_none());
    /// ```
    #[must_use]
    pub fn by(channel: &str, template: &'a str) -> Option<Message<'a>> {
        let channel = number_of(channel)?;
        Some(Message { channel, template, entries: Writer::default(), entry_count: 0 })
    }
}

impl Message<'_> {
    /// Sets one value of the template's data. If a key is set twice, the later value counts.
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

/// A value of a template's data: a string, a whole number, a float, a `bool`, a [`Decimal`], a
/// [`Timestamp`], or an option, list or map of these.
///
/// JSON has no infinite floats and no NaN: they become null, like `None`.
#[diagnostic::on_unimplemented(
    message = "a template's data can't hold `{Self}`",
    label = "expected a string, a number, a bool, a Decimal, a Timestamp, or an Option, list or \
             map of these"
)]
pub trait Value: sealed::Sealed {
    #[doc(hidden)]
    fn write(&self, writer: &mut Writer);
}

mod sealed {
    /// Seals [`Value`](super::Value): only types that the ABI can carry are values, so the depth of
    /// a value is bounded.
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
    @[T: Value] Option<T> => |value, writer| match value {
        Some(value) => value.write(writer),
        None => writer.nil(),
    };
    @[T: Value] [T] => |values, writer| {
        writer.array(values.len());
        values.iter().for_each(|value| value.write(writer))
    };
    @[T: Value] Vec<T> => |values, writer| values.as_slice().write(writer);
    @[T: Value, const N: usize] [T; N] => |values, writer| values.as_slice().write(writer);
    @[K: AsRef<str>, T: Value] Map<K, T> => |map, writer| {
        write_entries(map.len(), map.iter(), writer)
    };
    @[K: AsRef<str>, T: Value] BTreeMap<K, T> => |map, writer| {
        write_entries(map.len(), map.iter(), writer)
    };
}

fn write_entries<'a, K, T>(
    count: usize,
    entries: impl Iterator<Item = (&'a K, &'a T)>,
    writer: &mut Writer,
) where
    K: AsRef<str> + 'a,
    T: Value + 'a,
{
    writer.map(count);
    entries.for_each(|(key, value)| {
        writer.str(key.as_ref());
        value.write(writer);
    });
}
