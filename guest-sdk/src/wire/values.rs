//! The Rust types of fields and parameters, and how they are read.

use super::Reader;
use crate::collections::Map;
use crate::{Decimal, Raw, Timestamp};

/// A type of a handler's field. Strings are borrowed from the input.
pub trait FromWire<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Self;

    /// Reads a value that may be nil; nil is `None`.
    #[inline]
    fn read_optional(reader: &mut Reader<'a>) -> Option<Self> {
        if reader.nil() { None } else { Some(Self::read(reader)) }
    }
}

/// A type of a rule's parameter.
pub trait FromParam: Sized {
    fn read(reader: &mut Reader<'_>) -> Self;
}

impl<'a, T: FromWire<'a>> FromWire<'a> for Option<T> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Self {
        T::read_optional(reader)
    }
}

impl<'a, T: FromWire<'a>> FromWire<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Self {
        (0..reader.array()).map(|_| T::read(reader)).collect()
    }
}

impl<'a> FromWire<'a> for Map<&'a str, Decimal> {
    fn read(reader: &mut Reader<'a>) -> Self {
        (0..reader.map()).map(|_| (reader.str(), reader.decimal())).collect()
    }
}

impl<'a> FromWire<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Self {
        reader.str()
    }

    // Most fields are optional strings. Kept out of line, so that a module has this code once.
    #[inline(never)]
    fn read_optional(reader: &mut Reader<'a>) -> Option<Self> {
        if reader.nil() { None } else { Some(reader.str()) }
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
                // The manifest limits the parameter to the range of the type, and the host checks
                // it.
                reader.int() as $type
            }
        }
    )+ };
}

int_params!(u8, u16, u32, i32, i64);

impl<T: FromParam> FromParam for Vec<T> {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        (0..reader.array()).map(|_| T::read(reader)).collect()
    }
}

/// Reads a map; the entries are sorted by key.
impl<T: FromParam> FromParam for Map<String, T> {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Self {
        (0..reader.map()).map(|_| (String::read(reader), T::read(reader))).collect()
    }
}

/// Writes a parameter for the evaluator of conditions. Only tests use it; no module writes
/// parameters.
#[cfg(not(target_arch = "wasm32"))]
pub trait ToParam {
    fn write(&self, writer: &mut super::Writer);
}

#[cfg(not(target_arch = "wasm32"))]
mod to_param {
    use super::ToParam;
    use crate::Decimal;
    use crate::collections::Map;
    use crate::wire::Writer;

    impl ToParam for String {
        fn write(&self, writer: &mut Writer) {
            writer.str(self);
        }
    }

    impl ToParam for bool {
        fn write(&self, writer: &mut Writer) {
            writer.bool(*self);
        }
    }

    impl ToParam for Decimal {
        fn write(&self, writer: &mut Writer) {
            writer.decimal(*self);
        }
    }

    macro_rules! int_params {
        ($($type:ty),+) => { $(
            impl ToParam for $type {
                fn write(&self, writer: &mut Writer) {
                    writer.int(i64::from(*self));
                }
            }
        )+ };
    }

    int_params!(u8, u16, u32, i32, i64);

    impl<T: ToParam> ToParam for Vec<T> {
        fn write(&self, writer: &mut Writer) {
            writer.array(self.len());
            self.iter().for_each(|element| element.write(writer));
        }
    }

    impl<T: ToParam> ToParam for Map<String, T> {
        fn write(&self, writer: &mut Writer) {
            writer.map(self.len());
            for (key, value) in self.iter() {
                writer.str(key);
                value.write(writer);
            }
        }
    }
}
