//! A part of the event without a documented shape, read in place from the input buffer.

use crate::wire::Reader;
use crate::{Decimal, Timestamp};

/// A part of the event without a documented shape: any JSON value. It is searched in place; nothing
/// is copied.
///
/// An absent value and a value of another type are `None`, never an error.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    at: Reader<'a>,
}

impl<'a> Raw<'a> {
    pub(crate) const fn new(at: Reader<'a>) -> Self {
        Self { at }
    }

    /// The member of an object with this name; `None` if there is none, or if this is not an
    /// object. If two members have the name, the last one counts.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Raw<'a>> {
        self.entries().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// The members of an object, in the order of the event; empty if this is not an object.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Raw<'a>)> {
        let mut reader = self.at;
        let count =
            if matches!(reader.peek(), 0x80..=0x8f | 0xde | 0xdf) { reader.map() } else { 0 };
        (0..count).map(move |_| (reader.str(), next(&mut reader)))
    }

    /// The elements of an array; empty if this is not an array.
    pub fn elements(self) -> impl Iterator<Item = Raw<'a>> {
        let mut reader = self.at;
        let count =
            if matches!(reader.peek(), 0x90..=0x9f | 0xdc | 0xdd) { reader.array() } else { 0 };
        (0..count).map(move |_| next(&mut reader))
    }

    /// Whether this is JSON's `null`.
    #[must_use]
    pub fn is_null(mut self) -> bool {
        self.at.nil()
    }

    /// The value of `true` or `false`; `None` if this is neither.
    #[must_use]
    pub fn as_bool(mut self) -> Option<bool> {
        matches!(self.at.peek(), 0xc2 | 0xc3).then(|| self.at.bool())
    }

    /// The value of a string; `None` if this is not a string.
    #[must_use]
    pub fn as_str(mut self) -> Option<&'a str> {
        matches!(self.at.peek(), 0xa0..=0xbf | 0xd9..=0xdb).then(|| self.at.str())
    }

    /// The value of a whole number; `None` if this is not one, or if it does not fit an `i64`.
    #[must_use]
    pub fn as_int(mut self) -> Option<i64> {
        // 0xcf is an unsigned number of 64 bits, which may be too large.
        match self.at.peek() {
            0x00..=0x7f | 0xcc..=0xce | 0xd0..=0xd3 | 0xe0..=0xff => Some(self.at.int()),
            0xcf => i64::try_from(self.at.unsigned()).ok(),
            _ => None,
        }
    }

    /// The exact value of a number; `None` if this is not a number, or if a [`Decimal`] cannot hold
    /// it.
    #[must_use]
    pub fn as_decimal(mut self) -> Option<Decimal> {
        match self.at.peek() {
            0xcf => Some(Decimal::from(self.at.unsigned())),
            0xd8 => Some(self.at.decimal()),
            _ => self.as_int().map(Decimal::from),
        }
    }

    /// The value of a string that is a timestamp in RFC 3339; else `None`.
    #[must_use]
    pub fn as_timestamp(self) -> Option<Timestamp> {
        self.as_str()?.parse().ok()
    }
}

fn next<'a>(reader: &mut Reader<'a>) -> Raw<'a> {
    let here = *reader;
    reader.skip(1);
    Raw::new(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dec;
    use crate::wire::Writer;

    #[test]
    fn a_subtree_is_searched_in_place() {
        let mut writer = Writer::default();
        writer.map(3);
        writer.str("tags");
        writer.array(2);
        writer.str("a");
        writer.int(-200);
        writer.str("price");
        writer.decimal(dec!(9.50));
        writer.str("none");
        writer.nil();
        let raw = Raw::new(Reader::new(writer.bytes()));
        let tags: Vec<_> = raw.get("tags").unwrap().elements().collect();
        assert_eq!(
            (tags[0].as_str(), tags[1].as_int(), tags[1].as_decimal()),
            (Some("a"), Some(-200), Some(dec!(-200)))
        );
        assert_eq!(raw.get("price").unwrap().as_decimal(), Some(dec!(9.50)));
        assert!(raw.get("none").unwrap().is_null());
        assert!(raw.get("lost").is_none());
    }

    #[test]
    fn a_value_of_another_type_is_none() {
        let raw = Raw::new(Reader::new(&[0xa1, b'x']));
        assert_eq!(
            (raw.as_bool(), raw.as_int(), raw.as_decimal(), raw.as_timestamp()),
            (None, None, None, None)
        );
        assert_eq!(
            (raw.elements().count(), raw.entries().count(), raw.get("x").is_none()),
            (0, 0, true)
        );
        let too_big =
            Raw::new(Reader::new(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!((too_big.as_int(), too_big.as_decimal()), (None, Some(Decimal::from(u64::MAX))));
    }
}
