//! Writes MessagePack to a buffer that is reused between calls.

use super::{EXT_DECIMAL, EXT_TIMESTAMP};
use crate::{Decimal, Timestamp};

/// A buffer of MessagePack values.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Reserves room, so that the next writes do not allocate.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
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

    /// Removes everything after `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub fn nil(&mut self) {
        self.byte(0xc0);
    }

    pub fn bool(&mut self, value: bool) {
        self.byte(0xc2 + u8::from(value));
    }

    #[inline(never)]
    pub fn int(&mut self, value: i64) {
        match value {
            -32..=127 => self.byte(value as u8),
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

    #[inline(never)]
    pub fn str(&mut self, text: &str) {
        match text.len() {
            length @ 0..=31 => self.byte(0xa0 | length as u8),
            length @ 32..=255 => self.put(&[0xd9, length as u8]),
            length => self.tagged(0xdb, (length as u32).to_be_bytes()),
        }
        self.put(text.as_bytes());
    }

    #[inline(never)]
    pub fn decimal(&mut self, value: Decimal) {
        let mut wire = [0; 18];
        wire[..2].copy_from_slice(&[0xd8, EXT_DECIMAL]);
        wire[2..14].copy_from_slice(&value.magnitude().to_le_bytes()[..12]);
        (wire[14], wire[15]) = (value.scale() as u8, u8::from(value.is_negative()));
        self.bytes.extend_from_slice(&wire);
    }

    pub fn timestamp(&mut self, value: Timestamp) {
        self.byte(0xd7);
        self.tagged(EXT_TIMESTAMP, value.as_millis().to_be_bytes());
    }

    /// Writes the head of an array; its `count` elements follow.
    pub fn array(&mut self, count: usize) {
        match count {
            0..=15 => self.byte(0x90 | count as u8),
            _ => self.tagged(0xdd, (count as u32).to_be_bytes()),
        }
    }

    /// Writes the head of a map; its `count` entries follow.
    pub fn map(&mut self, count: usize) {
        match count {
            0..=15 => self.byte(0x80 | count as u8),
            _ => self.tagged(0xdf, (count as u32).to_be_bytes()),
        }
    }

    /// Writes a few bytes that are already MessagePack, in one store.
    #[inline]
    pub fn encoded<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes.extend_from_slice(&bytes);
    }

    /// Fills in the count of an array whose head (16 bits, written as zero) has it at the offset
    /// `at`.
    pub fn close_array(&mut self, at: usize, count: u16) {
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = count.to_be_bytes();
        }
    }

    /// Writes the head of a bin; its bytes follow.
    pub fn bin(&mut self, length: usize) {
        self.tagged(0xc6, (length as u32).to_be_bytes());
    }

    /// Moves the bytes of another writer, from the offset `at` on, to the end of this one.
    pub fn take_from(&mut self, other: &mut Writer, at: usize) {
        self.put(other.bytes.get(at..).unwrap_or_default());
        other.truncate(at);
    }

    /// Replaces the byte at the offset `at`.
    pub fn replace(&mut self, at: usize, byte: u8) {
        if let Some(place) = self.bytes.get_mut(at) {
            *place = byte;
        }
    }

    /// Writes the bytes of a string without a MessagePack head, for a log line or an error.
    pub(crate) fn text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// Writes a number's decimal digits without a MessagePack head, for a log line or an error.
    pub(crate) fn digits(&mut self, number: u32) {
        if number >= 10 {
            self.digits(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }

    /// Appends the values of another writer.
    pub fn append(&mut self, values: &Writer) {
        self.put(&values.bytes);
    }

    fn tagged<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.byte(tag);
        self.put(&bytes);
    }

    // The two functions that grow the buffer are kept out of line, so that a module has their code
    // once. A single byte is pushed, not copied: a copy of unknown length leaves the sandbox for
    // the host's `memory.copy`.
    #[inline(never)]
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[inline(never)]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dec;
    use crate::wire::Reader;

    #[test]
    fn decimals_have_the_bytes_of_the_abi() {
        for text in [
            "0",
            "135.0000",
            "-6.67",
            "-79228162514264337593543950335",
            "0.0000000000000000000000000001",
        ] {
            let value: Decimal = text.parse().unwrap();
            let mut writer = Writer::default();
            writer.decimal(value);
            assert_eq!(writer.bytes()[..2], [0xd8, 1]);
            assert_eq!(
                writer.bytes()[2..],
                hailer_abi::wire::decimal_to_wire(text.parse().unwrap())
            );
            let back = Reader::new(writer.bytes()).decimal();
            assert_eq!((back, back.scale()), (value, value.scale()));
        }
        let mut writer = Writer::default();
        writer.decimal(-dec!(0.00));
        assert_eq!(writer.bytes()[2..], hailer_abi::wire::decimal_to_wire("0.00".parse().unwrap()));
    }

    #[test]
    fn strings_of_every_length_are_read_as_written() {
        for length in [0, 1, 31, 32, 255, 256, 70_000] {
            let text = "т".repeat(length / 2) + &"t".repeat(length % 2);
            let mut writer = Writer::default();
            writer.str(&text);
            assert_eq!(Reader::new(writer.bytes()).str(), text);
        }
    }

    #[test]
    fn bins_of_every_length_are_read_as_written() {
        for length in [0, 1, 300, 70_000] {
            let bytes = vec![7; length];
            let mut writer = Writer::default();
            writer.bin(length);
            writer.put(&bytes);
            let mut reader = Reader::new(writer.bytes());
            assert_eq!((reader.bytes(), reader.is_empty()), (&bytes[..], true));
        }
    }

    #[test]
    fn the_last_bytes_of_a_writer_move_to_another() {
        let (mut first, mut second) = (Writer::default(), Writer::default());
        first.str("stays");
        let at = first.len();
        first.str("goes");
        second.take_from(&mut first, at);
        second.take_from(&mut first, 1000);
        assert_eq!(
            (Reader::new(first.bytes()).str(), Reader::new(second.bytes()).str()),
            ("stays", "goes")
        );
        assert_eq!(first.len(), at);
    }

    #[test]
    fn the_count_of_an_open_array_is_filled_in() {
        let mut writer = Writer::default();
        writer.encoded([0xdc, 0, 0]);
        writer.int(1);
        writer.int(2);
        writer.close_array(1, 2);
        let mut reader = Reader::new(writer.bytes());
        assert_eq!((reader.array(), reader.int(), reader.int()), (2, 1, 2));
    }

    #[test]
    fn digits_are_written_as_text() {
        for number in [0, 7, 10, 90, u32::MAX] {
            let mut writer = Writer::new();
            writer.digits(number);
            assert_eq!(writer.bytes(), number.to_string().as_bytes());
        }
    }
}
