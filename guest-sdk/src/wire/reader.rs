//! Reads MessagePack in place from the input buffer; strings are not copied.

use super::{EXT_DECIMAL, EXT_TIMESTAMP};
use crate::{Decimal, Timestamp};

/// A position in a sequence of MessagePack values.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Panics because the input does not follow the ABI; nothing after this position can be trusted.
#[cold]
#[inline(never)]
pub fn malformed() -> ! {
    panic!("the input does not follow the ABI")
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

    /// Whether the next value is nil. If it is, the value is consumed.
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
        match self.byte() {
            0xc2 => false,
            0xc3 => true,
            _ => malformed(),
        }
    }

    #[inline(never)]
    pub fn int(&mut self) -> i64 {
        match self.byte() {
            small @ (0x00..=0x7f | 0xe0..=0xff) => i64::from(small.cast_signed()),
            tag @ 0xcc..=0xcf => self.number(tag - 0xcc).cast_signed(),
            tag @ 0xd0..=0xd3 => {
                let unused_bits = 64 - (8 << (tag - 0xd0));
                (self.number(tag - 0xd0) << unused_bits).cast_signed() >> unused_bits
            }
            _ => malformed(),
        }
    }

    /// Reads an unsigned number of 64 bits.
    pub fn unsigned(&mut self) -> u64 {
        self.int().cast_unsigned()
    }

    pub fn float(&mut self) -> f64 {
        match self.peek() {
            0xca | 0xcb => match self.byte() {
                0xca => f64::from(f32::from_be_bytes(self.array_of())),
                _ => f64::from_be_bytes(self.array_of()),
            },
            _ => self.int() as f64,
        }
    }

    #[inline(never)]
    pub fn str(&mut self) -> &'a str {
        let length = match self.byte() {
            tag @ 0xa0..=0xbf => u64::from(tag & 0x1f),
            tag @ 0xd9..=0xdb => self.number(tag - 0xd9),
            _ => malformed(),
        };
        crate::module::text_of(self.take(length))
    }

    /// Reads the bytes of a bin.
    #[inline(never)]
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            tag @ 0xc4..=0xc6 => self.number(tag - 0xc4),
            _ => malformed(),
        };
        self.take(length)
    }

    #[inline(never)]
    pub fn decimal(&mut self) -> Decimal {
        let ([0xd8, EXT_DECIMAL], value) = (self.array_of(), u128::from_le_bytes(self.array_of()))
        else {
            malformed()
        };
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

    /// Reads the head of an array: the number of elements that follow.
    pub fn array(&mut self) -> u32 {
        self.count(0x90, 0xdc)
    }

    /// Reads the head of a map: the number of entries that follow, each a key and a value.
    pub fn map(&mut self) -> u32 {
        self.count(0x80, 0xde)
    }

    /// Reads the head of a record with at least `count` members. Returns the number of further
    /// members that this module does not know; skip them after the known ones.
    #[inline]
    pub fn record(&mut self, count: u32) -> u32 {
        match self.array().checked_sub(count) {
            Some(unknown) => unknown,
            None => malformed(),
        }
    }

    /// Skips `count` values, including nested ones.
    #[inline]
    pub fn skip(&mut self, count: u32) {
        if count > 0 {
            self.skip_values(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn skip_values(&mut self, count: u32) {
        let mut left = u64::from(count);
        while left > 0 {
            left -= 1;
            let (bytes, values) = match self.byte() {
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
                tag @ 0x80..=0x8f => (0, u64::from(tag & 0x0f) * 2),
                tag @ 0x90..=0x9f => (0, u64::from(tag & 0x0f)),
                tag @ 0xa0..=0xbf => (u64::from(tag & 0x1f), 0),
                tag @ 0xc4..=0xc6 => (self.number(tag - 0xc4), 0),
                tag @ 0xc7..=0xc9 => (self.number(tag - 0xc7) + 1, 0),
                tag @ (0xca | 0xcb) => (4 << (tag - 0xca), 0),
                tag @ 0xcc..=0xd3 => (1 << (tag & 3), 0),
                tag @ 0xd4..=0xd8 => ((1 << (tag - 0xd4)) + 1, 0),
                tag @ 0xd9..=0xdb => (self.number(tag - 0xd9), 0),
                tag @ (0xdc | 0xdd) => (0, self.number(tag - 0xdb)),
                tag @ (0xde | 0xdf) => (0, self.number(tag - 0xdd) * 2),
                0xc1 => malformed(),
            };
            self.take(bytes);
            left += values;
        }
    }

    /// The first byte of the next value, which gives its type. The value is not consumed.
    pub(crate) fn peek(&self) -> u8 {
        match self.rest.first() {
            Some(&byte) => byte,
            None => malformed(),
        }
    }

    /// Reads the head of an array or a map. A count below 16 is in the tag, a larger one follows
    /// it.
    #[inline(never)]
    fn count(&mut self, narrow: u8, wide: u8) -> u32 {
        let tag = self.byte();
        if tag & 0xf0 == narrow {
            u32::from(tag & 0x0f)
        } else if tag & 0xfe == wide {
            self.number(tag - wide + 1) as u32
        } else {
            malformed()
        }
    }

    /// Reads a big-endian number of 2^`width` bytes.
    #[inline(never)]
    fn number(&mut self, width: u8) -> u64 {
        match width {
            0 => u64::from(self.byte()),
            1 => u64::from(u16::from_be_bytes(self.array_of())),
            2 => u64::from(u32::from_be_bytes(self.array_of())),
            _ => u64::from_be_bytes(self.array_of()),
        }
    }

    #[inline]
    fn byte(&mut self) -> u8 {
        let [byte] = self.array_of();
        byte
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> [u8; N] {
        let Some((taken, rest)) = self.rest.split_first_chunk() else { malformed() };
        self.rest = rest;
        *taken
    }

    #[inline]
    fn take(&mut self, length: u64) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(length as usize) else { malformed() };
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    #[test]
    fn integers_of_every_width_are_read_as_written() {
        let edges = [
            0,
            1,
            -1,
            127,
            128,
            -32,
            -33,
            255,
            256,
            -128,
            -129,
            65_535,
            65_536,
            -32_769,
            i64::MAX,
            i64::MIN,
        ];
        for value in edges.into_iter().chain([
            i64::from(u32::MAX),
            i64::from(u32::MAX) + 1,
            i64::from(i32::MIN) - 1,
        ]) {
            let mut writer = Writer::default();
            writer.int(value);
            let mut reader = Reader::new(writer.bytes());
            assert_eq!(reader.int(), value);
            assert!(reader.is_empty());
        }
        assert_eq!(
            Reader::new(&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]).unsigned(),
            u64::MAX - 1
        );
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
    fn lengths_of_every_width_are_read_and_passed_over() {
        let long = "x".repeat(40);
        let texts: [&[u8]; 4] = [&[0xd9, 40], &[0xda, 0, 40], &[0xdb, 0, 0, 0, 40], &[0xd9, 40]];
        let arrays: [&[u8]; 3] = [&[0x91], &[0xdc, 0, 1], &[0xdd, 0, 0, 0, 1]];
        let maps: [&[u8]; 3] = [&[0x81], &[0xde, 0, 1], &[0xdf, 0, 0, 0, 1]];
        for text in texts {
            let bytes = [text, long.as_bytes(), &[7]].concat();
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.str(), reader.int()), (long.as_str(), 7));
            let mut reader = Reader::new(&bytes);
            reader.skip(1);
            assert_eq!(reader.int(), 7);
        }
        for (array, map) in arrays.into_iter().zip(maps) {
            let bytes = [array, &[1], map, &[0xa1, b'k', 2], &[7]].concat();
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.array(), reader.int(), reader.map(), reader.str()), (1, 1, 1, "k"));
            let mut reader = Reader::new(&bytes);
            reader.skip(2);
            assert_eq!(reader.int(), 7);
        }
        // Floats, integers, bins and extensions of every width.
        for (tag, bytes) in [
            (&[0xca][..], 4),
            (&[0xcb], 8),
            (&[0xcc], 1),
            (&[0xcd], 2),
            (&[0xce], 4),
            (&[0xcf], 8),
            (&[0xd0], 1),
            (&[0xd1], 2),
            (&[0xd2], 4),
            (&[0xd3], 8),
            (&[0xc4, 3], 3),
            (&[0xc5, 0, 3], 3),
            (&[0xc6, 0, 0, 0, 3], 3),
            (&[0xc7, 3], 4),
            (&[0xc8, 0, 3], 4),
            (&[0xc9, 0, 0, 0, 3], 4),
            (&[0xd4], 2),
            (&[0xd5], 3),
            (&[0xd6], 5),
            (&[0xd7], 9),
            (&[0xd8], 17),
        ] {
            let bytes = [tag, &vec![0xc1; bytes], &[7]].concat();
            let mut reader = Reader::new(&bytes);
            reader.skip(1);
            assert_eq!(reader.int(), 7, "{tag:x?}");
        }
    }

    #[test]
    fn members_that_a_module_does_not_know_are_counted_and_skipped() {
        let mut reader = Reader::new(&[0x93, 0x01, 0x02, 0x03, 0x04]);
        let unknown = reader.record(1);
        assert_eq!((reader.int(), unknown), (1, 2));
        reader.skip(unknown);
        assert_eq!(reader.int(), 4);
    }

    #[test]
    #[should_panic(expected = "does not follow the ABI")]
    fn a_value_of_another_type_panics() {
        Reader::new(&[0xc3]).int();
    }

    #[test]
    #[should_panic(expected = "does not follow the ABI")]
    fn a_truncated_value_panics() {
        Reader::new(&[0xa5, b'a']).str();
    }
}
