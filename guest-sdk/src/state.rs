//! The state that a rule keeps about a customer, and its encoding: a map of named members, so that
//! a later version of the rule can add members. A reader skips unknown members and gives absent
//! ones their default.
//!
//! The encoding does not use serde: serde and rmp-serde add 90 kB to a module for a small state,
//! this code adds less than 5. Bytes that this version cannot read fail the call with an error that
//! contains no value. They never panic.

use std::collections::{BTreeMap, BTreeSet};

use crate::collections::Map;
use crate::module::text_of;
use crate::wire::{Reader, Writer};
use crate::{Context, Decimal, Timestamp};

/// A type that can be kept between calls. Put `#[derive(State)]` on a struct or an enum. Its
/// members can be integers, `f64`, `bool`, `String`, [`Decimal`], [`Timestamp`], other states, and
/// options, lists, maps and pairs of these.
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// #[derive(Default, State)]
/// struct Visits {
///     count: u32,
///     last: Option<Timestamp>,
/// }
/// ```
///
/// A stored state lacks a field that a later version of the rule added. The field then has the
/// value that the struct's `Default` gives it. Raise the version (`#[state(version = 2)]`) if older
/// modules must not read the states that this version writes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be kept as state",
    label = "put `#[derive(Default, State)]` on a struct or enum, or use a type that a state can \
             hold",
    note = "a state can hold integers, f64, bool, String, Decimal, Timestamp, and Option, Vec, \
            Map, BTreeMap, BTreeSet and pairs of them"
)]
pub trait State: Sized {
    /// The version of the state's shape; 1 unless `#[state(version = …)]` sets another.
    const VERSION: u32 = 1;

    #[doc(hidden)]
    fn write(&self, writer: &mut Writer);

    #[doc(hidden)]
    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable>;
}

/// The reason why a stored state cannot be read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The name of the innermost member; empty if the state itself is meant.
    member: &'static str,
    expected: &'static str,
}

impl Unreadable {
    /// Adds the name of the member, unless an inner member is already named.
    #[must_use]
    #[cold]
    pub fn within(self, member: &'static str) -> Self {
        if self.member.is_empty() { Self { member, ..self } } else { self }
    }
}

#[cold]
pub fn unreadable<T>(expected: &'static str) -> Result<T, Unreadable> {
    Err(Unreadable { member: "", expected })
}

/// The type of a value in a stored state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Array,
    Map,
    Timestamp,
    Decimal,
    Other,
}

fn kind(reader: &Reader<'_>) -> Kind {
    match reader.peek() {
        0x00..=0x7f | 0xcc..=0xd3 | 0xe0..=0xff => Kind::Int,
        0x80..=0x8f | 0xde | 0xdf => Kind::Map,
        0x90..=0x9f | 0xdc | 0xdd => Kind::Array,
        0xa0..=0xbf | 0xd9..=0xdb => Kind::Text,
        0xc2 | 0xc3 => Kind::Bool,
        0xca | 0xcb => Kind::Float,
        0xd7 => Kind::Timestamp,
        0xd8 => Kind::Decimal,
        _ => Kind::Other,
    }
}

/// Checks that the next value is of this kind.
#[inline(never)]
pub fn expect(reader: &Reader<'_>, wanted: Kind, expected: &'static str) -> Result<(), Unreadable> {
    if kind(reader) == wanted { Ok(()) } else { unreadable(expected) }
}

/// Reads the head of a map: the number of entries that follow.
#[inline(never)]
pub fn entries(reader: &mut Reader<'_>) -> Result<u32, Unreadable> {
    expect(reader, Kind::Map, "a map")?;
    Ok(reader.map())
}

fn elements(reader: &mut Reader<'_>) -> Result<u32, Unreadable> {
    expect(reader, Kind::Array, "a list")?;
    Ok(reader.array())
}

/// Reads the name of a member.
#[inline(never)]
pub fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Unreadable> {
    expect(reader, Kind::Text, "a name")?;
    Ok(reader.str())
}

/// Reads the name of a variant, and whether a value follows it.
#[inline(never)]
pub fn variant<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, bool), Unreadable> {
    match kind(reader) {
        Kind::Text => Ok((reader.str(), false)),
        Kind::Map if reader.map() == 1 => Ok((name(reader)?, true)),
        _ => unreadable("a variant"),
    }
}

/// Reads the value of a member.
pub fn member<T: State>(reader: &mut Reader<'_>, name: &'static str) -> Result<T, Unreadable> {
    T::read(reader).map_err(|error| error.within(name))
}

/// Reads the state that the host sends: nil, or a version and bytes. `None` if the bytes cannot be
/// read; the call has failed then.
pub fn kept<T: State + Default>(mut kept: Reader<'_>, context: &mut Context) -> Option<T> {
    if kept.nil() {
        return Some(T::default());
    }
    kept.record(2);
    let (version, bytes) = (kept.unsigned(), kept.bytes());
    match T::read(&mut Reader::new(bytes)) {
        Ok(state) => Some(state),
        Err(Unreadable { member, expected }) => {
            refuse(context, version, member, expected);
            None
        }
    }
}

#[cold]
#[inline(never)]
fn refuse(context: &mut Context, version: u64, member: &'static str, expected: &'static str) {
    let mut text = Writer::new();
    text.text("the state that version ");
    text.digits(version as u32);
    text.text(" of its shape wrote can't be read: `");
    text.text(if member.is_empty() { "the whole" } else { member });
    text.text("` is not ");
    text.text(expected);
    context.fail(text_of(text.bytes()));
}

macro_rules! integers {
    ($($type:ty),+) => { $(
        impl State for $type {
            fn write(&self, writer: &mut Writer) {
                writer.int(i64::from(*self));
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
                match <$type>::try_from(int(reader)?) {
                    Ok(value) => Ok(value),
                    Err(_) => unreadable(concat!("a number that fits ", stringify!($type))),
                }
            }
        }
    )+ };
}

integers!(u8, u16, u32, i8, i16, i32, i64);

#[inline(never)]
fn int(reader: &mut Reader<'_>) -> Result<i64, Unreadable> {
    expect(reader, Kind::Int, "a whole number")?;
    // 0xcf is an unsigned number of 64 bits, which may be too large.
    let is_unsigned = reader.peek() == 0xcf;
    match reader.int() {
        negative if is_unsigned && negative < 0 => unreadable("a number that fits 64 bits"),
        value => Ok(value),
    }
}

impl State for u64 {
    fn write(&self, writer: &mut Writer) {
        writer.unsigned(*self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        expect(reader, Kind::Int, "a whole number")?;
        if reader.peek() == 0xcf {
            return Ok(reader.unsigned());
        }
        u64::try_from(reader.int()).or_else(|_| unreadable("a number that fits u64"))
    }
}

macro_rules! plain {
    ($($type:ty: $method:ident, $kind:ident, $expected:literal;)+) => { $(
        impl State for $type {
            fn write(&self, writer: &mut Writer) {
                writer.$method(*self);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
                expect(reader, Kind::$kind, $expected)?;
                Ok(reader.$method())
            }
        }
    )+ };
}

plain! {
    bool: bool, Bool, "true or false";
    f64: float, Float, "a float";
    Decimal: decimal, Decimal, "a decimal";
    Timestamp: timestamp, Timestamp, "a moment";
}

impl State for String {
    fn write(&self, writer: &mut Writer) {
        writer.str(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        expect(reader, Kind::Text, "a text")?;
        Ok(reader.str().to_owned())
    }
}

impl<T: State> State for Option<T> {
    fn write(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.write(writer),
            None => writer.nil(),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        if reader.nil() { Ok(None) } else { T::read(reader).map(Some) }
    }
}

impl<T: State> State for Vec<T> {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.len());
        self.iter().for_each(|element| element.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut values = Vec::new();
        for _ in 0..elements(reader)? {
            values.push(T::read(reader)?);
        }
        Ok(values)
    }
}

impl<T: State + Ord> State for BTreeSet<T> {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.len());
        self.iter().for_each(|element| element.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        (0..elements(reader)?).map(|_| T::read(reader)).collect()
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    fn write(&self, writer: &mut Writer) {
        writer.map(self.len());
        for (key, value) in self {
            key.write(writer);
            value.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        (0..entries(reader)?).map(|_| Ok((K::read(reader)?, V::read(reader)?))).collect()
    }
}

impl<V: State> State for Map<String, V> {
    fn write(&self, writer: &mut Writer) {
        writer.map(self.len());
        for (key, value) in self.iter() {
            key.write(writer);
            value.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut map = Map::new();
        for _ in 0..entries(reader)? {
            map.insert(String::read(reader)?, V::read(reader)?);
        }
        Ok(map)
    }
}

impl<A: State, B: State> State for (A, B) {
    fn write(&self, writer: &mut Writer) {
        writer.array(2);
        self.0.write(writer);
        self.1.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        if elements(reader)? != 2 {
            return unreadable("a pair");
        }
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

#[cfg(test)]
mod tests;
