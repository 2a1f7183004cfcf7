//! The traits that the two macros implement: `#[rule]` for the parameters, `#[handlers]` for the
//! handlers.

use crate::Context;
use crate::wire::Reader;
#[cfg(not(target_arch = "wasm32"))]
use crate::wire::Writer;

/// A complete rule, as its host and its tests use it. [`#[handlers]`](macro@crate::handlers)
/// implements it; authors never do.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handlers",
    label = "put `#[handlers]` on an `impl {Self}` block with the handlers in it"
)]
pub trait Rule: Declared {
    /// The rule's manifest (`docs/abi.md`), as JSON.
    const MANIFEST: &'static str;

    /// Runs the rule's `#[configure]` on the parameters, once, before the first call.
    #[doc(hidden)]
    fn configure(&self) -> Result<(), String>;

    /// Runs the handler with this number. `kept` is the stored state, and `fields` are the values
    /// of the handler's fields.
    #[doc(hidden)]
    fn handle(
        &self,
        handler: u32,
        kept: Reader<'_>,
        fields: &mut Reader<'_>,
        context: &mut Context,
    );

    /// The result of the condition of the handler with this number for these fields, computed in
    /// Rust; `None` is unknown. The host has its own evaluator, and
    /// [`Scenario`](crate::testing::Scenario) checks that both give the same result.
    #[cfg(not(target_arch = "wasm32"))]
    #[doc(hidden)]
    fn condition(&self, handler: u32, fields: Reader<'_>) -> Option<bool> {
        let _ = (handler, fields);
        Some(true)
    }
}

/// The half of a rule that `#[rule]` generates.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rule",
    label = "put `#[rule]` on the struct of this impl"
)]
#[doc(hidden)]
pub trait Declared: Sized + 'static {
    /// The first half of the manifest: name, version, description, parameters.
    const DECLARATION: &'static str;

    /// Makes the rule from the parameters that the host sends, in the order of the struct's fields.
    fn from_params(params: &mut Reader<'_>) -> Self;

    /// Writes the rule's parameters as the host sends them.
    #[cfg(not(target_arch = "wasm32"))]
    fn write_params(&self, params: &mut Writer);
}

/// The total length of several strings, in bytes.
#[must_use]
pub const fn length(parts: &[&str]) -> usize {
    let (mut sum, mut part) = (0, 0);
    while part < parts.len() {
        sum += parts[part].len();
        part += 1;
    }
    sum
}

/// Concatenates strings. `N` is their [`length`].
#[must_use]
pub const fn concat<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut joined = [0; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let (bytes, mut index) = (parts[part].as_bytes(), 0);
        while index < bytes.len() {
            joined[at] = bytes[index];
            at += 1;
            index += 1;
        }
        part += 1;
    }
    joined
}

/// The decimal digits of a number, for use in constants.
#[derive(Debug)]
pub struct Digits {
    bytes: [u8; 10],
    first: usize,
}

/// Converts a number to its decimal digits.
#[must_use]
pub const fn digits(mut number: u32) -> Digits {
    let (mut bytes, mut first) = ([0; 10], 10);
    while first == 10 || number > 0 {
        first -= 1;
        bytes[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    Digits { bytes, first }
}

impl Digits {
    #[must_use]
    pub const fn text(&self) -> &str {
        match core::str::from_utf8(self.bytes.split_at(self.first).1) {
            Ok(text) => text,
            Err(_) => panic!("digits are valid UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_match_to_string() {
        for number in [0, 1, 9, 10, 4_294_967_295] {
            assert_eq!(digits(number).text(), number.to_string());
        }
    }
}
