//! Which Rust type a field or a parameter becomes.

use std::collections::BTreeMap;

use super::Reader;
use crate::{Decimal, Raw, Timestamp};

/// A field as a handler gets it. Texts are borrowed from the input.
pub trait FromWire<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Self;
}

/// A parameter as the rule keeps it.
pub trait FromParam: Sized {
    fn read(reader: &mut Reader<'_>) -> Self;
}

impl<'a, T: FromWire<'a>> FromWire<'a> for Option<T> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Self {
        if reader.nil() { None } else { Some(T::read(reader)) }
    }
}

impl<'a, T: FromWire<'a>> FromWire<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Self {
        (0..reader.array()).map(|_| T::read(reader)).collect()
    }
}

impl<'a> FromWire<'a> for BTreeMap<&'a str, Decimal> {
    fn read(reader: &mut Reader<'a>) -> Self {
        (0..reader.map()).map(|_| (reader.str(), reader.decimal())).collect()
    }
}

impl<'a> FromWire<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Self {
        reader.str()
    }
}

impl<'a> FromWire<'a> for Raw<'a> {
    fn read(reader: &mut Reader<'a>) -> Self {
        let here = *reader;
        reader.skip(1);
        Raw::new(here)
    }
}

macro_rules! read_by {
    ($($type:ty: $method:ident),+) => { $(
        impl FromWire<'_> for $type {
            #[inline]
            fn read(reader: &mut Reader<'_>) -> Self {
                reader.$method()
            }
        }
    )+ };
}

read_by!(bool: bool, i64: int, f64: float, Decimal: decimal, Timestamp: timestamp);

impl FromParam for String {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.str().into()
    }
}

impl FromParam for bool {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.bool()
    }
}

impl FromParam for Decimal {
    fn read(reader: &mut Reader<'_>) -> Self {
        reader.decimal()
    }
}

macro_rules! int_params {
    ($($type:ty),+) => { $(
        impl FromParam for $type {
            fn read(reader: &mut Reader<'_>) -> Self {
                // The manifest bounds the parameter to the type, and the host checks it.
                reader.int() as $type
            }
        }
    )+ };
}

int_params!(u8, u16, u32, i32, i64);

impl<T: FromParam> FromParam for Vec<T> {
    fn read(reader: &mut Reader<'_>) -> Self {
        (0..reader.array()).map(|_| T::read(reader)).collect()
    }
}

/// A map in the order of its keys.
impl<T: FromParam> FromParam for BTreeMap<String, T> {
    fn read(reader: &mut Reader<'_>) -> Self {
        (0..reader.map()).map(|_| (String::read(reader), T::read(reader))).collect()
    }
}
