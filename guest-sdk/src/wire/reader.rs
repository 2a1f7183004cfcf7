//! Reads MessagePack from the input buffer, in place: a text stays where the host wrote it.

use super::{EXT_DECIMAL, EXT_TIMESTAMP};
use crate::{Decimal, Timestamp};

/// A place in a run of MessagePack values.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// The host and this module don't agree about the ABI; nothing that is read from here on can be trusted.
#[cold]
#[inline(never)]
pub(crate) fn malformed() -> ! {
    panic!("the input does not follow the ABI")
}

/// What a value begins with. Lengths count elements, entries or bytes.
#[derive(Clone, Copy)]
enum Head {
    Nil,
    Bool,
    Int(i64),
    Float(f64),
    Bytes(u32),
    Array(u32),
    Map(u32),
    Ext(u32),
}

impl<'a> Reader<'a> {
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether the next value is nil; if so, it is taken.
    #[inline]
    pub fn nil(&mut self) -> bool {
        match self.rest {
            [0xc0, rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub fn bool(&mut self) -> bool {
        match self.take(1) {
            [0xc2] => false,
            [0xc3] => true,
            _ => malformed(),
        }
    }

    #[inline(never)]
    pub fn int(&mut self) -> i64 {
        match self.head() {
            Head::Int(value) => value,
            _ => malformed(),
        }
    }

    /// An unsigned 64-bit number: a value above `i64::MAX` comes back as its two's complement from the head.
    pub fn unsigned(&mut self) -> u64 {
        self.int().cast_unsigned()
    }

    pub fn float(&mut self) -> f64 {
        match self.head() {
            Head::Float(value) => value,
            Head::Int(value) => value as f64,
            _ => malformed(),
        }
    }

    #[inline(never)]
    pub fn str(&mut self) -> &'a str {
        let Head::Bytes(length) = self.head() else { malformed() };
        let Ok(text) = core::str::from_utf8(self.take(length as usize)) else { malformed() };
        text
    }

    /// The bytes of a bin.
    pub fn bytes(&mut self) -> &'a [u8] {
        let Head::Bytes(length) = self.head() else { malformed() };
        self.take(length as usize)
    }

    #[inline(never)]
    pub fn decimal(&mut self) -> Decimal {
        let ([0xd8, EXT_DECIMAL], value) = (self.array_of(), u128::from_le_bytes(self.array_of())) else { malformed() };
        let (scale, sign) = ((value >> 96) as u8, (value >> 104) as u8);
        if scale > 28 {
            malformed();
        }
        Decimal::from_wire(value & ((1 << 96) - 1), scale, sign == 1)
    }

    #[inline]
    pub fn timestamp(&mut self) -> Timestamp {
        let bytes: [u8; 10] = self.array_of();
        let [0xd7, EXT_TIMESTAMP, millis @ ..] = bytes else { malformed() };
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }

    /// The number of elements of an array, which follow.
    #[inline(never)]
    pub fn array(&mut self) -> u32 {
        match self.head() {
            Head::Array(count) => count,
            _ => malformed(),
        }
    }

    /// The number of entries of a map, which follow: key, value, key, value.
    #[inline(never)]
    pub fn map(&mut self) -> u32 {
        match self.head() {
            Head::Map(count) => count,
            _ => malformed(),
        }
    }

    /// The head of a record of at least `count` members. Returns how many more there are that this module doesn't know;
    /// they are to be skipped after the known ones.
    #[inline]
    pub fn record(&mut self, count: u32) -> u32 {
        match self.array().checked_sub(count) {
            Some(unknown) => unknown,
            None => malformed(),
        }
    }

    /// Skips `count` values with all that is in them.
    pub fn skip(&mut self, count: u32) {
        let mut left = u64::from(count);
        while left > 0 {
            left -= 1;
            match self.head() {
                Head::Nil | Head::Bool | Head::Int(_) | Head::Float(_) => {}
                Head::Bytes(length) => _ = self.take(length as usize),
                Head::Ext(length) => _ = self.take(length as usize + 1),
                Head::Array(elements) => left += u64::from(elements),
                Head::Map(entries) => left += u64::from(entries) * 2,
            }
        }
    }

    /// The first byte of the next value, which says what it is.
    pub(crate) fn peek(&self) -> u8 {
        match self.rest.first() {
            Some(&byte) => byte,
            None => malformed(),
        }
    }

    fn head(&mut self) -> Head {
        let byte = self.array_of::<1>()[0];
        match byte {
            0x00..=0x7f => Head::Int(i64::from(byte)),
            0x80..=0x8f => Head::Map(u32::from(byte & 0x0f)),
            0x90..=0x9f => Head::Array(u32::from(byte & 0x0f)),
            0xa0..=0xbf => Head::Bytes(u32::from(byte & 0x1f)),
            0xc0 => Head::Nil,
            0xc2 | 0xc3 => Head::Bool,
            0xc4 | 0xd9 => Head::Bytes(u32::from(self.u8())),
            0xc5 | 0xda => Head::Bytes(u32::from(self.u16())),
            0xc6 | 0xdb => Head::Bytes(self.u32()),
            0xc7 => Head::Ext(u32::from(self.u8())),
            0xc8 => Head::Ext(u32::from(self.u16())),
            0xc9 => Head::Ext(self.u32()),
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.array_of()))),
            0xcb => Head::Float(f64::from_be_bytes(self.array_of())),
            0xcc => Head::Int(i64::from(self.u8())),
            0xcd => Head::Int(i64::from(self.u16())),
            0xce => Head::Int(i64::from(self.u32())),
            0xcf | 0xd3 => Head::Int(i64::from_be_bytes(self.array_of())),
            0xd0 => Head::Int(i64::from(self.u8().cast_signed())),
            0xd1 => Head::Int(i64::from(self.u16().cast_signed())),
            0xd2 => Head::Int(i64::from(self.u32().cast_signed())),
            0xd4..=0xd8 => Head::Ext(1 << (byte - 0xd4)),
            0xdc => Head::Array(u32::from(self.u16())),
            0xdd => Head::Array(self.u32()),
            0xde => Head::Map(u32::from(self.u16())),
            0xdf => Head::Map(self.u32()),
            0xe0..=0xff => Head::Int(i64::from(byte.cast_signed())),
            0xc1 => malformed(),
        }
    }

    #[inline]
    fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.array_of())
    }

    #[inline]
    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array_of())
    }

    #[inline]
    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array_of())
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> [u8; N] {
        let Some((taken, rest)) = self.rest.split_first_chunk() else { malformed() };
        self.rest = rest;
        *taken
    }

    #[inline]
    fn take(&mut self, length: usize) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else { malformed() };
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    #[test]
    fn integers_of_every_width_come_back() {
        let edges = [0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65_535, 65_536, -32_769, i64::MAX, i64::MIN];
        for value in edges.into_iter().chain([i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::from(i32::MIN) - 1]) {
            let mut writer = Writer::default();
            writer.int(value);
            let mut reader = Reader::new(writer.bytes());
            assert_eq!(reader.int(), value);
            assert!(reader.is_empty());
        }
        assert_eq!(Reader::new(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]).unsigned(), u64::MAX - 1);
        assert_eq!(Reader::new(&[0xd1, 0xff, 0xfe]).int(), -2);
    }

    #[test]
    fn skipping_passes_over_values_of_every_kind() {
        let mut writer = Writer::default();
        writer.map(1);
        writer.str("key");
        writer.array(9);
        writer.nil();
        writer.bool(true);
        writer.int(70_000);
        writer.float(0.5);
        writer.str(&"long".repeat(100));
        writer.decimal(Decimal::ONE);
        writer.timestamp(Timestamp::from_millis(7));
        writer.array(0);
        writer.map(0);
        writer.int(42);
        let mut reader = Reader::new(writer.bytes());
        reader.skip(1);
        assert_eq!(reader.int(), 42);
        assert!(reader.is_empty());
    }

    #[test]
    fn members_that_a_module_does_not_know_are_counted() {
        let mut reader = Reader::new(&[0x93, 0x01, 0x02, 0x03, 0x04]);
        let unknown = reader.record(1);
        assert_eq!((reader.int(), unknown), (1, 2));
        reader.skip(unknown);
        assert_eq!(reader.int(), 4);
    }

    #[test]
    #[should_panic(expected = "does not follow the ABI")]
    fn a_value_of_another_kind_is_a_panic() {
        Reader::new(&[0xc3]).int();
    }

    #[test]
    #[should_panic(expected = "does not follow the ABI")]
    fn a_value_that_ends_too_soon_is_a_panic() {
        Reader::new(&[0xa5, b'a']).str();
    }
}
