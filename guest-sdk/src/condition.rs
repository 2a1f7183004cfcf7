//! Functions for the Rust code that `#[when(...)]` generates: typed access to parameters, and the
//! three-valued logic of unknown results.
//!
//! The host checks conditions with the evaluator in `hailer-abi`; no module contains one. The code
//! here has the same meaning in plain Rust. The compiler uses it to check the types of parameters,
//! and tests compare it with the evaluator.

use crate::Decimal;

/// A parameter that can be compared with a number.
#[diagnostic::on_unimplemented(
    message = "this parameter is not a number",
    label = "a `{Self}` is compared with a number here"
)]
pub trait NumberParam {
    fn number(&self) -> Decimal;
}

/// A parameter that can be compared with text.
#[diagnostic::on_unimplemented(
    message = "this parameter is not text",
    label = "a `{Self}` is compared with text here"
)]
pub trait TextParam {
    fn text(&self) -> &str;
}

/// A parameter that is a `bool`.
#[diagnostic::on_unimplemented(
    message = "this parameter is not a boolean",
    label = "this is a `{Self}`; compare it with a field"
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

/// The result of `&&`: false if any part is false, else unknown (`None`) if any is unknown, else
/// true.
#[must_use]
pub fn all(parts: &[Option<bool>]) -> Option<bool> {
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    if parts.contains(&None) { None } else { Some(true) }
}

/// The result of `||`: true if any part is true, else unknown (`None`) if any is unknown, else
/// false.
#[must_use]
pub fn any(parts: &[Option<bool>]) -> Option<bool> {
    if parts.contains(&Some(true)) {
        return Some(true);
    }
    if parts.contains(&None) { None } else { Some(false) }
}
