//! Writes MessagePack to a buffer that is kept between calls.

use super::{EXT_DECIMAL, EXT_TIMESTAMP};
use crate::{Decimal, Timestamp};

/// A run of MessagePack values in the making.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes back what was written after `length`.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub fn nil(&mut self) {
        self.bytes.push(0xc0);
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(0xc2 + u8::from(value));
    }

    pub fn int(&mut self, value: i64) {
        match value {
            -32..=127 => self.bytes.push(value as u8),
            _ => self.tagged(0xd3, value.to_be_bytes()),
        }
    }

    pub fn unsigned(&mut self, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.tagged(0xcf, value.to_be_bytes()),
        }
    }

    pub fn float(&mut self, value: f64) {
        self.tagged(0xcb, value.to_be_bytes());
    }

    pub fn str(&mut self, text: &str) {
        match text.len() {
            length @ 0..=31 => self.bytes.push(0xa0 | length as u8),
            length @ 32..=255 => self.bytes.extend_from_slice(&[0xd9, length as u8]),
            length => self.tagged(0xdb, (length as u32).to_be_bytes()),
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn decimal(&mut self, value: Decimal) {
        let parts = value.unpack();
        let magnitude = u128::from(parts.hi) << 64 | u128::from(parts.mid) << 32 | u128::from(parts.lo);
        let negative = parts.negative && magnitude != 0;
        let mut wire = (magnitude | u128::from(parts.scale) << 96 | u128::from(negative) << 104).to_le_bytes();
        wire[14..].fill(0);
        self.bytes.extend_from_slice(&[0xd8, EXT_DECIMAL]);
        self.bytes.extend_from_slice(&wire);
    }

    pub fn timestamp(&mut self, value: Timestamp) {
        self.bytes.extend_from_slice(&[0xd7, EXT_TIMESTAMP]);
        self.bytes.extend_from_slice(&value.as_millis().to_be_bytes());
    }

    /// The head of an array; its `count` elements follow.
    pub fn array(&mut self, count: usize) {
        match count {
            0..=15 => self.bytes.push(0x90 | count as u8),
            _ => self.tagged(0xdd, (count as u32).to_be_bytes()),
        }
    }

    /// The head of a map; its `count` entries follow.
    pub fn map(&mut self, count: usize) {
        match count {
            0..=15 => self.bytes.push(0x80 | count as u8),
            _ => self.tagged(0xdf, (count as u32).to_be_bytes()),
        }
    }

    /// The head of an array whose count isn't known yet. Returns where [`Self::close_array`] puts it.
    pub fn open_array(&mut self) -> usize {
        self.tagged(0xdc, [0, 0]);
        self.bytes.len() - 2
    }

    pub fn close_array(&mut self, at: usize, count: u16) {
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Values that are written already.
    pub fn append(&mut self, values: &Writer) {
        self.bytes.extend_from_slice(&values.bytes);
    }

    fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dec;
    use crate::wire::Reader;

    #[test]
    fn decimals_have_the_bytes_that_the_abi_says() {
        for value in
            [dec!(0), dec!(135.0000), dec!(-6.67), Decimal::MAX, Decimal::MIN, dec!(0.0000000000000000000000000001)]
        {
            let mut writer = Writer::default();
            writer.decimal(value);
            assert_eq!(writer.bytes()[..2], [0xd8, 1]);
            assert_eq!(writer.bytes()[2..], hailer_abi::wire::decimal_to_wire(value));
            let back = Reader::new(writer.bytes()).decimal();
            assert_eq!((back, back.scale()), (value, value.scale()));
        }
        let mut writer = Writer::default();
        writer.decimal(-dec!(0.00));
        assert_eq!(writer.bytes()[2..], hailer_abi::wire::decimal_to_wire(dec!(0.00)));
    }

    #[test]
    fn texts_of_every_length_come_back() {
        for length in [0, 1, 31, 32, 255, 256, 70_000] {
            let text = "т".repeat(length / 2) + &"t".repeat(length % 2);
            let mut writer = Writer::default();
            writer.str(&text);
            assert_eq!(Reader::new(writer.bytes()).str(), text);
        }
    }

    #[test]
    fn an_open_array_is_closed_with_its_count() {
        let mut writer = Writer::default();
        let at = writer.open_array();
        writer.int(1);
        writer.int(2);
        writer.close_array(at, 2);
        let mut reader = Reader::new(writer.bytes());
        assert_eq!((reader.array(), reader.int(), reader.int()), (2, 1, 2));
    }
}
