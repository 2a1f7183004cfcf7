//! Reads MessagePack in place, as far as conditions need it: a value, and the position after it.
//! Nothing is copied, and only the list of an array's elements is allocated. Bytes that are not
//! MessagePack give no value.

use rust_decimal::Decimal;

use crate::wire::{DECIMAL_LEN, Digits, EXT_DECIMAL, decimal_from_wire, digits_from_wire};

/// The byte of a nil.
pub const NIL: u8 = 0xc0;

/// A value that a condition can compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Decimal(Decimal),
    /// The bytes of a string; the host has checked that they are UTF-8.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads the value at the start of the bytes; `None` if it is nil or of a type that conditions
    /// do not compare.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Value<'a>> {
        let (&tag, rest) = bytes.split_first()?;
        Some(match tag {
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xd8 => {
                let (&[kind], rest) = rest.split_first_chunk()?;
                let (wire, _) = rest.split_first_chunk::<DECIMAL_LEN>()?;
                if kind.cast_signed() != EXT_DECIMAL {
                    return None;
                }
                Value::Decimal(decimal_from_wire(*wire)?)
            }
            0xa0..=0xbf | 0xd9..=0xdb => Value::Text(text(bytes)?),
            _ => Value::Int(integer(tag, rest)?),
        })
    }
}

/// Reads the number at the start of the bytes; `None` if there is no number.
#[inline]
#[must_use]
pub fn digits(bytes: &[u8]) -> Option<Digits> {
    let (&tag, rest) = bytes.split_first()?;
    if tag != 0xd8 {
        return integer(tag, rest).map(|number| Digits { mantissa: i128::from(number), scale: 0 });
    }
    let (&[kind], rest) = rest.split_first_chunk()?;
    let (wire, _) = rest.split_first_chunk::<DECIMAL_LEN>()?;
    if kind.cast_signed() == EXT_DECIMAL { digits_from_wire(*wire) } else { None }
}

/// Reads the string at the start of the bytes; `None` if there is no string.
#[inline]
#[must_use]
pub fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        0xa0..=0xbf => rest.get(..usize::from(tag & 0x1f)),
        0xd9 => {
            let (&length, rest) = rest.split_first()?;
            rest.get(..usize::from(length))
        }
        0xda | 0xdb => {
            let (length, rest) = unsigned(rest, 1 << (tag - 0xd9))?;
            rest.get(..usize::try_from(length).ok()?)
        }
        _ => None,
    }
}

fn integer(tag: u8, rest: &[u8]) -> Option<i64> {
    match tag {
        0x00..=0x7f | 0xe0..=0xff => Some(i64::from(tag.cast_signed())),
        0xcc..=0xcf => i64::try_from(unsigned(rest, 1 << (tag - 0xcc))?.0).ok(),
        0xd0..=0xd3 => {
            let width = 1 << (tag - 0xd0);
            let unused_bits = 64 - 8 * width as u32;
            Some((unsigned(rest, width)?.0 << unused_bits).cast_signed() >> unused_bits)
        }
        _ => None,
    }
}

/// Reads a big-endian number of `width` bytes; returns it with the bytes after it.
fn unsigned(bytes: &[u8], width: usize) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_at_checked(width)?;
    Some((number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

/// The bytes of each element of an array; `None` if the input is anything but one array.
#[must_use]
pub fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let (&tag, rest) = array.split_first()?;
    let (count, mut rest) = match tag {
        0x90..=0x9f => (u64::from(tag & 0x0f), rest),
        0xdc => unsigned(rest, 2)?,
        0xdd => unsigned(rest, 4)?,
        _ => return None,
    };
    let mut elements = Vec::new();
    for _ in 0..count {
        let after = after_one(rest)?;
        elements.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    rest.is_empty().then_some(elements)
}

/// The bytes after the value at the start of the input; `None` if the value is malformed. Counts do
/// not allocate, and every value takes at least one byte, so the loop ends with the input.
fn after_one(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut left = 1_u64;
    while left > 0 {
        left -= 1;
        let (&tag, rest) = bytes.split_first()?;
        let plain = |length: u64| Some((length, 0, rest));
        let counted =
            |width, more: u64| unsigned(rest, width).map(|(length, rest)| (length + more, 0, rest));
        let holding =
            |width, each: u64| unsigned(rest, width).map(|(count, rest)| (0, count * each, rest));
        let (length, values, rest) = match tag {
            0x00..=0x7f | 0xe0..=0xff | NIL | 0xc2 | 0xc3 => plain(0),
            0x80..=0x8f => Some((0, u64::from(tag & 0x0f) * 2, rest)),
            0x90..=0x9f => Some((0, u64::from(tag & 0x0f), rest)),
            0xa0..=0xbf => plain(u64::from(tag & 0x1f)),
            0xc4..=0xc6 => counted(1 << (tag - 0xc4), 0),
            0xc7..=0xc9 => counted(1 << (tag - 0xc7), 1),
            0xca | 0xcb => plain(4 << (tag - 0xca)),
            0xcc..=0xd3 => plain(1 << (tag & 3)),
            0xd4..=0xd8 => plain((1 << (tag - 0xd4)) + 1),
            0xd9..=0xdb => counted(1 << (tag - 0xd9), 0),
            0xdc | 0xdd => holding(2 << (tag - 0xdc), 1),
            0xde | 0xdf => holding(2 << (tag - 0xde), 2),
            0xc1 => None,
        }?;
        bytes = rest.get(usize::try_from(length).ok()?..)?;
        left += values;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decimal_to_wire;

    #[test]
    fn integers_and_strings_are_read_in_every_width() {
        for (bytes, value) in [
            (&[0x07][..], 7),
            (&[0xff], -1),
            (&[0xcc, 200], 200),
            (&[0xcd, 1, 0], 256),
            (&[0xce, 0, 1, 0, 0], 65_536),
            (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
            (&[0xd0, 0x80], -128),
            (&[0xd1, 0xff, 0x7f], -129),
            (&[0xd2, 0xff, 0xff, 0x7f, 0xff], -32_769),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], i64::MIN),
        ] {
            assert_eq!(Value::read(bytes), Some(Value::Int(value)), "{bytes:x?}");
        }
        assert_eq!(
            Value::read(&[0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            None,
            "it does not fit an int of the ABI"
        );
        for head in [&[0xa2][..], &[0xd9, 2], &[0xda, 0, 2], &[0xdb, 0, 0, 0, 2]] {
            assert_eq!(Value::read(&[head, b"hi"].concat()), Some(Value::Text(b"hi")), "{head:x?}");
            assert_eq!(Value::read(&[head, b"h"].concat()), None, "{head:x?}");
        }
    }

    #[test]
    fn values_of_another_type_and_truncated_values_are_none() {
        let decimal: Decimal = "-1.50".parse().unwrap();
        let bytes = [&[0xd8, 1][..], &decimal_to_wire(decimal)].concat();
        assert_eq!(Value::read(&bytes), Some(Value::Decimal(decimal)));
        assert_eq!(Value::read(&bytes[..17]), None);
        let of_another_type = [&[0xd8, 2][..], &decimal_to_wire(decimal)].concat();
        for bytes in [
            &[][..],
            &[NIL],
            &[0x90],
            &[0x80],
            &[0xca, 0, 0, 0, 0],
            &[0xc4, 0],
            &[0xc1],
            &of_another_type,
        ] {
            assert_eq!(Value::read(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn an_array_is_split_into_its_elements() {
        let nested = [0x92, 0x81, 0xa1, b'k', 0x01, 0xc7, 1, 9, 0];
        let array = [&[0x94, 0x01][..], &nested, &[NIL, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let found = elements(&array).unwrap();
        assert_eq!(found, [&array[1..2], &array[2..11], &array[11..12], &array[12..21]]);
        assert_eq!(elements(&[0xdc, 0, 1, 0x05]).unwrap(), [[0x05]]);
        assert_eq!(elements(&[0x90]).unwrap(), [[0_u8; 0]; 0]);
        for wrong in [
            &[0x91][..],
            &[0x90, 0x01],
            &[0x80],
            &[0xdd, 255, 255, 255, 255],
            &[0x91, 0xdf, 255, 255, 255, 255],
            &[],
        ] {
            assert_eq!(elements(wrong), None, "{wrong:x?}");
        }
    }
}
