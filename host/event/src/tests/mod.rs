//! Tests of the crate as a whole: the source's samples, hostile bodies, and random bodies compared
//! with `serde_json`.

mod agreement;
mod identity;
mod oracle;
mod projection;
mod samples;
mod validity;

use std::collections::BTreeMap;

use bytes::Bytes;
use hailer_abi::manifest::{Field, FieldKind};
use hailer_abi::wire;
use rust_decimal::Decimal;

use super::{Event, EventError, PlanBuilder, Projection};

fn read(body: impl AsRef<[u8]>) -> Result<Event, EventError> {
    Event::read(Bytes::copy_from_slice(body.as_ref()))
}

/// The sample of an event, byte for byte.
macro_rules! sample {
    ($code:literal) => {
        include_str!(concat!("../../../../guest-sdk/abi/events/", $code, ".json"))
    };
}
use sample;

fn field(kind: FieldKind, paths: &[&str]) -> Field {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    Field {
        name: "field".to_owned(),
        kind,
        paths,
        required: false,
        personal: false,
        of: Vec::new(),
    }
}

fn list(paths: &[&str], of: Vec<Field>) -> Field {
    Field { of, ..field(FieldKind::List, paths) }
}

fn required(field: Field) -> Field {
    Field { required: true, ..field }
}

/// Projects one field of one event. Returns its value and the number of mismatches.
fn project(event: &Event, field: &Field) -> (Option<Packed>, u32) {
    let mut builder = PlanBuilder::new();
    let slot = builder.add(field);
    let mut projection = Projection::new();
    builder.build().project(event, &mut projection);
    (projection.get(slot).map(unpack), projection.mismatches())
}

/// A decoded MessagePack value.
#[derive(Clone, Debug, PartialEq)]
enum Packed {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    /// A decimal and its scale, which `Decimal` does not compare.
    Decimal(Decimal, u32),
    Timestamp(i64),
    Array(Vec<Packed>),
    Map(BTreeMap<String, Packed>),
}

fn text(text: &str) -> Packed {
    Packed::Str(text.to_owned())
}

fn decimal(text: &str) -> Packed {
    let decimal: Decimal = text.parse().unwrap();
    Packed::Decimal(decimal, decimal.scale())
}

fn unpack(mut bytes: &[u8]) -> Packed {
    let packed = unpack_from(&mut bytes);
    assert!(bytes.is_empty(), "bytes are left over");
    packed
}

fn unpack_from(bytes: &mut &[u8]) -> Packed {
    use rmp::Marker;
    let marker = Marker::from_u8(bytes[0]);
    match marker {
        Marker::Null => take(bytes, 1, |_| Packed::Nil),
        Marker::True | Marker::False => take(bytes, 1, |_| Packed::Bool(marker == Marker::True)),
        Marker::F64 => Packed::Float(rmp::decode::read_f64(bytes).unwrap()),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let length = rmp::decode::read_str_len(bytes).unwrap() as usize;
            take(bytes, length, |text| Packed::Str(String::from_utf8(text.to_vec()).unwrap()))
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let length = rmp::decode::read_array_len(bytes).unwrap();
            Packed::Array((0..length).map(|_| unpack_from(bytes)).collect())
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let length = rmp::decode::read_map_len(bytes).unwrap();
            let mut map = BTreeMap::new();
            for _ in 0..length {
                let Packed::Str(key) = unpack_from(bytes) else { panic!("a key is a str") };
                let value = unpack_from(bytes);
                assert_eq!(map.insert(key, value), None, "a map has each key once");
            }
            Packed::Map(map)
        }
        Marker::FixExt8 | Marker::FixExt16 => {
            let meta = rmp::decode::read_ext_meta(bytes).unwrap();
            take(bytes, meta.size as usize, |payload| match meta.typeid {
                wire::EXT_TIMESTAMP => {
                    Packed::Timestamp(i64::from_be_bytes(payload.try_into().unwrap()))
                }
                wire::EXT_DECIMAL => {
                    let decimal = wire::decimal_from_wire(payload.try_into().unwrap()).unwrap();
                    Packed::Decimal(decimal, decimal.scale())
                }
                other => panic!("extension {other}"),
            })
        }
        Marker::U64 => Packed::Int(rmp::decode::read_int::<u64, _>(bytes).unwrap().into()),
        _ => Packed::Int(rmp::decode::read_int::<i64, _>(bytes).unwrap().into()),
    }
}

fn take<T>(bytes: &mut &[u8], length: usize, read: impl FnOnce(&[u8]) -> T) -> T {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    read(taken)
}
