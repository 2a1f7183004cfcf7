//! A communication's data: MessagePack out of a guest, made into JSON text. Numbers keep their digits, a key stands once, and nothing
//! that JSON can't hold gets through.

use std::io::Write;

use hailer_abi::wire;
use rmp::{Marker, decode};
use serde::Serialize;

use super::reader::{Reader, Wrong};

impl Reader<'_> {
    /// Writes the next value as JSON. `depth_left` is how many arrays and maps may still stand in each other.
    pub(super) fn value_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Wrong> {
        match self.marker()? {
            Marker::Null => self.literal(out, b"null"),
            Marker::True => self.literal(out, b"true"),
            Marker::False => self.literal(out, b"false"),
            Marker::F32 => {
                let value = decode::read_f32(&mut self.rest).map_err(|_| "a float that ends in the middle")?;
                write_float(out, f64::from(value))
            }
            Marker::F64 => {
                let value = decode::read_f64(&mut self.rest).map_err(|_| "a float that ends in the middle")?;
                write_float(out, value)
            }
            Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                write_json(out, &self.unsigned("an integer")?)
            }
            Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
                write_json(out, &self.signed("an integer")?)
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => write_json(out, self.text("a text")?),
            Marker::FixExt16 | Marker::FixExt8 => self.extension_as_json(out),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => self.array_as_json(out, deeper(depth_left)?),
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => self.map_as_json(out, deeper(depth_left)?),
            _ => Err("a value of a type that data may not hold".into()),
        }
    }

    fn literal(&mut self, out: &mut Vec<u8>, word: &[u8]) -> Result<(), Wrong> {
        self.rest = &self.rest[1..];
        out.extend_from_slice(word);
        Ok(())
    }

    fn array_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Wrong> {
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

    fn map_as_json(&mut self, out: &mut Vec<u8>, depth_left: usize) -> Result<(), Wrong> {
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
            return Err("a map with a key that stands twice".into());
        }
        self.keys.truncate(keys_before);
        Ok(())
    }

    fn extension_as_json(&mut self, out: &mut Vec<u8>) -> Result<(), Wrong> {
        let meta = decode::read_ext_meta(&mut self.rest).map_err(|_| "an extension that ends in the middle")?;
        let bytes = self.take(meta.size as usize)?;
        match meta.typeid {
            wire::EXT_DECIMAL => {
                let bytes = <[u8; wire::DECIMAL_LEN]>::try_from(bytes).map_err(|_| "a decimal of a wrong length")?;
                let value = wire::decimal_from_wire(bytes).ok_or("a decimal with a byte out of range")?;
                // A number, digit for digit: 135.0000 stays 135.0000.
                write!(out, "{value}").map_err(unwritten)
            }
            wire::EXT_TIMESTAMP => {
                let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| "a timestamp of a wrong length")?;
                let time = jiff::Timestamp::from_millisecond(i64::from_be_bytes(bytes));
                let time = time.map_err(|_| "a timestamp out of range")?;
                write!(out, "\"{time}\"").map_err(unwritten)
            }
            _ => Err("an extension of an unknown type".into()),
        }
    }
}

fn deeper(depth_left: usize) -> Result<usize, Wrong> {
    depth_left.checked_sub(1).ok_or_else(|| "data nested too deep".into())
}

fn write_float(out: &mut Vec<u8>, value: f64) -> Result<(), Wrong> {
    if value.is_finite() { write_json(out, &value) } else { Err("a float that is not finite".into()) }
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Wrong> {
    serde_json::to_writer(out, value).map_err(unwritten)
}

/// Memory takes whatever is written to it.
#[cold]
fn unwritten(error: impl std::fmt::Display) -> Wrong {
    format!("data that can't be written: {error}")
}
