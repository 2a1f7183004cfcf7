//! What a rule keeps about a customer, and how it is written down: as a map of named members, so that a later version of the
//! rule can add some. Unknown members are passed over, and absent ones have their default.
//!
//! A way of its own in place of serde's: with serde and rmp-serde a small state takes 90 kB of a module, this way less than 5. Bytes that this version can't read are an error of the call, told without a value, and never a panic.

use std::collections::{BTreeMap, BTreeSet};

use crate::collections::Map;
use crate::module::text_of;
use crate::wire::{Reader, Writer};
use crate::{Context, Decimal, Timestamp};

/// What can be kept between calls: `#[derive(State)]` on a struct or an enum, and what these are made of (integers, `f64`,
/// `bool`, `String`, [`Decimal`], [`Timestamp`], and options, lists, maps and pairs of them).
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
/// A field that was added later is absent from a state that was written before, and then has the value that the struct's
/// `Default` gives it. Raise the version (`#[state(version = 2)]`) when a state that is written from now on must not be read by an
/// older module any more.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be kept as state",
    label = "put `#[derive(Default, State)]` on a struct or enum, or use a type that a state can hold",
    note = "a state can hold integers, f64, bool, String, Decimal, Timestamp, and Option, Vec, Map, BTreeMap, BTreeSet and pairs of them"
)]
pub trait State: Sized {
    /// The version of the state's shape.
    const VERSION: u32 = 1;

    #[doc(hidden)]
    fn write(&self, writer: &mut Writer);

    #[doc(hidden)]
    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable>;
}

/// Why a state can't be read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The innermost member, empty if it is the state itself.
    member: &'static str,
    expected: &'static str,
}

impl Unreadable {
    /// The member whose value this was, unless one inside it is known.
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

/// What the next value of a state is.
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

/// Nothing, if the next value is of this kind.
#[inline(never)]
pub fn expect(reader: &Reader<'_>, wanted: Kind, expected: &'static str) -> Result<(), Unreadable> {
    if kind(reader) == wanted { Ok(()) } else { unreadable(expected) }
}

/// The number of a map's entries, which follow.
#[inline(never)]
pub fn entries(reader: &mut Reader<'_>) -> Result<u32, Unreadable> {
    expect(reader, Kind::Map, "a map")?;
    Ok(reader.map())
}

fn elements(reader: &mut Reader<'_>) -> Result<u32, Unreadable> {
    expect(reader, Kind::Array, "a list")?;
    Ok(reader.array())
}

/// A member's name.
#[inline(never)]
pub fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Unreadable> {
    expect(reader, Kind::Text, "a name")?;
    Ok(reader.str())
}

/// A variant's name, and whether a value follows it.
#[inline(never)]
pub fn variant<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, bool), Unreadable> {
    match kind(reader) {
        Kind::Text => Ok((reader.str(), false)),
        Kind::Map if reader.map() == 1 => Ok((name(reader)?, true)),
        _ => unreadable("a variant"),
    }
}

/// A member's value.
pub fn member<T: State>(reader: &mut Reader<'_>, name: &'static str) -> Result<T, Unreadable> {
    T::read(reader).map_err(|error| error.within(name))
}

/// The state that the host sends: nil, or a version and bytes. `None` if it can't be read; the call has failed then.
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
    // 0xcf is an unsigned number of 64 bits, which may be too big.
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
mod tests {
    use super::*;
    use crate::dec;
    use crate::prelude::State;

    #[derive(Clone, Debug, Default, PartialEq, State)]
    enum Stage {
        #[default]
        New,
        Named(String),
        Counted {
            times: u32,
            last: Option<Timestamp>,
        },
    }

    #[derive(Clone, Debug, Default, PartialEq, State)]
    #[state(version = 7)]
    struct Everything {
        small: u8,
        negative: i64,
        large: u64,
        share: f64,
        on: bool,
        text: String,
        amount: Decimal,
        at: Option<Timestamp>,
        stages: Vec<Stage>,
        by_name: BTreeMap<String, Decimal>,
        by_day: BTreeMap<i32, (Timestamp, bool)>,
        seen: BTreeSet<String>,
        few: Map<String, u16>,
        nested: Nested,
        id: Id,
    }

    #[derive(Clone, Debug, PartialEq, State)]
    struct Nested {
        size: u16,
    }

    impl Default for Nested {
        fn default() -> Self {
            Self { size: 42 }
        }
    }

    #[derive(Clone, Debug, Default, PartialEq, State)]
    struct Id(String);

    fn bytes(state: &impl State) -> Vec<u8> {
        let mut writer = Writer::default();
        state.write(&mut writer);
        writer.bytes().to_vec()
    }

    fn read<T: State>(bytes: &[u8]) -> Result<T, Unreadable> {
        let mut reader = Reader::new(bytes);
        let state = T::read(&mut reader)?;
        assert!(reader.is_empty());
        Ok(state)
    }

    fn everything() -> Everything {
        Everything {
            small: 200,
            negative: i64::MIN,
            large: u64::MAX,
            share: 0.5,
            on: true,
            text: "текст".into(),
            amount: dec!(-12.5000),
            at: Some(Timestamp::from_millis(-1)),
            stages: vec![
                Stage::New,
                Stage::Named("a".into()),
                Stage::Counted { times: 3, last: Some(Timestamp::from_millis(9)) },
            ],
            by_name: [("b".into(), dec!(1)), ("a".into(), dec!(2))].into(),
            by_day: [(-3, (Timestamp::from_millis(5), false))].into(),
            seen: ["x".into()].into(),
            few: Map::from([("k".to_owned(), 1_u16)]),
            nested: Nested { size: 7 },
            id: Id("77".into()),
        }
    }

    #[test]
    fn everything_that_a_state_can_hold_comes_back() {
        for state in [everything(), Everything::default()] {
            assert_eq!(read::<Everything>(&bytes(&state)), Ok(state));
        }
        assert_eq!(Everything::VERSION, 7);
        assert_eq!(Nested::VERSION, 1);
    }

    #[test]
    fn equal_states_are_equal_bytes() {
        let mut other = everything();
        other.by_name = [("a".into(), dec!(2)), ("b".into(), dec!(1))].into();
        assert_eq!(bytes(&everything()), bytes(&other));
    }

    #[derive(Clone, Debug, Default, PartialEq, State)]
    struct First {
        count: u32,
        gone: String,
    }

    #[derive(Clone, Debug, PartialEq, State)]
    struct Second {
        limit: u8,
        count: u64,
    }

    impl Default for Second {
        fn default() -> Self {
            Self { limit: 9, count: 0 }
        }
    }

    #[test]
    fn a_later_shape_reads_an_earlier_one_and_the_other_way_round() {
        let first = First { count: 3, gone: "x".into() };
        assert_eq!(read(&bytes(&first)), Ok(Second { limit: 9, count: 3 }));
        assert_eq!(read(&bytes(&Second { limit: 1, count: 5 })), Ok(First { count: 5, gone: String::new() }));
        assert_eq!(
            read::<First>(&bytes(&Second { limit: 1, count: 1 << 32 })),
            Err(Unreadable { member: "count", expected: "a number that fits u32" })
        );
    }

    #[derive(Default, Debug, PartialEq, State)]
    struct Text {
        count: String,
    }

    #[test]
    fn what_is_of_another_kind_is_an_error_that_names_the_member() {
        assert_eq!(read::<Text>(&bytes(&First::default())), Err(Unreadable { member: "count", expected: "a text" }));
        assert_eq!(read::<Text>(&bytes(&7_u32)), Err(Unreadable { member: "", expected: "a map" }));
        assert_eq!(read::<Vec<u8>>(&bytes(&7_u32)), Err(Unreadable { member: "", expected: "a list" }));
        assert_eq!(
            read::<Stage>(&bytes(&"Lost".to_owned())),
            Err(Unreadable { member: "", expected: "a variant that this version knows" })
        );
        // A variant that had no value, and one that lost it.
        assert!(read::<Stage>(&bytes(&BTreeMap::from([("New".to_owned(), 1_u8)]))).is_err());
        assert!(read::<Stage>(&bytes(&"Named".to_owned())).is_err());
    }

    #[test]
    fn numbers_that_do_not_fit_are_told() {
        assert!(read::<i64>(&bytes(&u64::MAX)).is_err());
        assert!(read::<u64>(&bytes(&-1_i64)).is_err());
        assert!(read::<u8>(&bytes(&256_u32)).is_err());
        assert_eq!(read::<u64>(&bytes(&(u64::MAX / 2 + 1))), Ok(u64::MAX / 2 + 1));
    }
}
