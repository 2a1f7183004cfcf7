//! The data of a communication: MessagePack from a guest, converted to JSON text. Numbers keep
//! their digits. Duplicate keys and values that JSON cannot represent are refused.

use std::io::Write;

use hailer_abi::wire;
use rmp::Marker;
use rust_decimal::Decimal;
use serde::Serialize;

use super::reader::{Malformed, Reader};

/// The deepest nesting of a state that is shown.
const STATE_DEPTH_MAX: usize = 16;

/// A rule's state as JSON, for people; null if it cannot be converted.
#[must_use]
pub fn state_json(bytes: &[u8]) -> serde_json::Value {
    let mut json = Vec::new();
    let mut reader = Reader::new(bytes);
    let is_written =
        reader.value_as_json(&mut json, STATE_DEPTH_MAX).is_ok() && reader.rest.is_empty();
    is_written.then(|| serde_json::from_slice(&json).ok()).flatten().unwrap_or_default()
}

impl Reader<'_> {
    /// Writes the next value as JSON. `depth_left` is the number of arrays and maps that may still
    /// be nested.
    pub(super) fn value_as_json(
        &mut self,
        out: &mut Vec<u8>,
        depth_left: usize,
    ) -> Result<(), Malformed> {
        match self.marker()? {
            Marker::Null => self.literal(out, b"null"),
            Marker::True => self.literal(out, b"true"),
            Marker::False => self.literal(out, b"false"),
            Marker::F32 | Marker::F64 => match self.float("a float")? {
                value if value.is_finite() => write_json(out, &value),
                _ => Err("a float that is not finite".into()),
            },
            Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                write_json(out, &self.unsigned("an integer")?)
            }
            Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
                write_json(out, &self.signed("an integer")?)
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                write_json(out, self.text("a text")?)
            }
            Marker::FixExt16 => self.decimal_as_json(out),
            Marker::FixExt8 => self.timestamp_as_json(out),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                self.array_as_json(out, deeper(depth_left)?)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                self.map_as_json(out, deeper(depth_left)?)
            }
            _ => Err("a value of a type that data may not hold".into()),
        }
    }

    fn literal(&mut self, out: &mut Vec<u8>, word: &[u8]) -> Result<(), Malformed> {
        self.rest = &self.rest[1..];
        out.extend_from_slice(word);
        Ok(())
    }

    fn array_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Malformed> {
        let count = self.array("an array")?;
        out.push(b'[');
        for index in 0..count {
            if index > 0 {
                out.push(b',');
            }
            self.value_as_json(out, depth_left)?;
        }
        out.push(b']');
        Ok(())
    }

    fn map_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Malformed> {
        let count = self.map("a map")?;
        let keys_before = self.keys.len();
        out.push(b'{');
        for index in 0..count {
            if index > 0 {
                out.push(b',');
            }
            let key = self.text("a key")?;
            self.keys.push(key);
            write_json(out, key)?;
            out.push(b':');
            self.value_as_json(out, depth_left)?;
        }
        out.push(b'}');
        let keys = &mut self.keys[keys_before..];
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a map with a duplicate key".into());
        }
        self.keys.truncate(keys_before);
        Ok(())
    }

    fn decimal_as_json(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let value = wire::decimal_from_wire(self.extension(wire::EXT_DECIMAL)?);
        let value = value.ok_or("a decimal with a byte out of range")?;
        write_decimal(out, value);
        Ok(())
    }

    fn timestamp_as_json(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let millis = i64::from_be_bytes(self.extension(wire::EXT_TIMESTAMP)?);
        let time =
            jiff::Timestamp::from_millisecond(millis).map_err(|_| "a timestamp out of range")?;
        write!(out, "\"{time}\"").map_err(unwritten)
    }

    /// Reads the bytes of an extension of this type. The marker determines its length.
    fn extension<const N: usize>(&mut self, kind: i8) -> Result<[u8; N], Malformed> {
        let [_marker, its_kind] = self.array_of()?;
        if i8::from_be_bytes([its_kind]) != kind {
            return Err(Malformed::from(format!(
                "an extension of {N} bytes and the unknown type {its_kind}"
            )));
        }
        self.array_of()
    }
}

fn deeper(depth_left: usize) -> Result<usize, Malformed> {
    depth_left.checked_sub(1).ok_or_else(|| "data nested too deep".into())
}

/// Writes a number with its digits: 135.0000 stays 135.0000. The result is that of its `Display`,
/// in a fraction of the time.
fn write_decimal(out: &mut Vec<u8>, value: Decimal) {
    // 29 digits, a point and a sign; filled from the end.
    let mut text = [0; 32];
    let mut at = text.len();
    let mut push = |byte| {
        at -= 1;
        text[at] = byte;
    };
    let mut rest = value.mantissa().unsigned_abs();
    let mut digits = 0;
    while rest > 0 || digits <= value.scale() {
        if digits == value.scale() && digits > 0 {
            push(b'.');
        }
        // Usual amounts fit in 64 bits, and dividing these needs no function call.
        let digit = match u64::try_from(rest) {
            Ok(small) => {
                rest = u128::from(small / 10);
                (small % 10) as u8
            }
            Err(_) => {
                let digit = (rest % 10) as u8;
                rest /= 10;
                digit
            }
        };
        push(b'0' + digit);
        digits += 1;
    }
    if value.is_sign_negative() {
        push(b'-');
    }
    out.extend_from_slice(&text[at..]);
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Malformed> {
    serde_json::to_writer(out, value).map_err(unwritten)
}

/// The error for a failed write, which never happens because the data is written to memory.
#[cold]
fn unwritten(error: impl std::fmt::Display) -> Malformed {
    format!("data that can't be written: {error}").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_decimal_is_written_as_its_display_writes_it(
            magnitude in prop_oneof![
                0..100_000_i128, 0..1_i128 << 66, 0..1_i128 << 96, Just((1 << 96) - 1)
            ],
            scale in 0..=28_u32,
            negative: bool,
        ) {
            let signed = if negative { -magnitude } else { magnitude };
            let value = Decimal::from_i128_with_scale(signed, scale);
            let mut written = Vec::new();
            write_decimal(&mut written, value);
            prop_assert_eq!(String::from_utf8(written).unwrap(), value.to_string());
        }
    }
}
