//! What the code of a `#[when(...)]` is made of: its parameters as what they have to be, and the logic of what is unknown.
//!
//! A host asks conditions by an evaluator of its own (`hailer-abi`), and no module carries one. This is the same meaning in plain Rust,
//! for the compiler, which knows the parameters' types, and for tests, which hold the two against each other.

use crate::Decimal;

/// A parameter that is compared with a number.
#[diagnostic::on_unimplemented(
    message = "this parameter is no number",
    label = "it is a `{Self}`, and what it is compared with is a number"
)]
pub trait NumberParam {
    fn number(&self) -> Decimal;
}

/// A parameter that is compared with a text.
#[diagnostic::on_unimplemented(
    message = "this parameter is no text",
    label = "it is a `{Self}`, and what it is compared with is a text"
)]
pub trait TextParam {
    fn text(&self) -> &str;
}

/// A parameter that is true or false.
#[diagnostic::on_unimplemented(
    message = "this parameter is not true or false",
    label = "it is a `{Self}`: compare it with a field"
)]
pub trait BoolParam {
    fn is(&self) -> bool;
}

macro_rules! number_params {
    ($($type:ty),+) => { $(
        impl NumberParam for $type {
            fn number(&self) -> Decimal {
                Decimal::from(*self)
            }
        }
    )+ };
}

number_params!(u8, u16, u32, i32, i64, Decimal);

impl TextParam for String {
    fn text(&self) -> &str {
        self
    }
}

impl BoolParam for bool {
    fn is(&self) -> bool {
        *self
    }
}

pub fn number_of(param: &impl NumberParam) -> Decimal {
    param.number()
}

pub fn text_of(param: &impl TextParam) -> &str {
    param.text()
}

pub fn bool_of(param: &impl BoolParam) -> bool {
    param.is()
}

/// False if any is, else unknown if any is, else true.
#[must_use]
pub fn all(parts: &[Option<bool>]) -> Option<bool> {
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    if parts.contains(&None) { None } else { Some(true) }
}

/// True if any is, else unknown if any is, else false.
#[must_use]
pub fn any(parts: &[Option<bool>]) -> Option<bool> {
    if parts.contains(&Some(true)) {
        return Some(true);
    }
    if parts.contains(&None) { None } else { Some(false) }
}
