//! `#[when(...)]`: converts the author's expression to the condition in the manifest. If a
//! condition cannot express something, an error points there and says what to write instead. Only
//! the compiler knows the types of parameters, so it checks them.

mod errors;
mod read;
mod rust;

use hailer_abi::catalogue::EventType;
use hailer_abi::condition::{Condition, DEPTH_MAX, Kind, PARTS_MAX};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, Result};

use crate::pattern::{Errors, FieldUse};
pub(crate) use errors::misplaced;
use read::Parser;
pub(crate) use rust::read_as;

/// The condition of a handler.
pub(crate) struct When {
    pub(crate) condition: Condition,
    /// The parameters that the condition names, each with its span and the kind that it must have.
    params: Vec<(Ident, Kind)>,
    /// The fields that the condition names, as indices into the pattern's fields.
    fields: Vec<usize>,
}

/// Removes `#[when(...)]` and returns its expression; `None` if it is absent.
pub(crate) fn take_when(attributes: &mut Vec<Attribute>) -> Result<Option<Expr>> {
    let mut found = None;
    let mut errors = Errors::default();
    attributes.retain(|attribute| {
        if !attribute.path().is_ident("when") {
            return true;
        }
        match attribute.parse_args::<Expr>() {
            Ok(_) if found.is_some() => {
                errors.add(Error::new(
                    attribute.span(),
                    "a handler can have only one condition: join them with `&&`",
                ));
            }
            Ok(expression) => found = Some(expression),
            Err(error) => errors.add(Error::new(
                error.span(),
                format!(
                    "{error}\nwrite the condition in parentheses: `#[when(amount >= \
                     self.threshold)]`"
                ),
            )),
        }
        false
    });
    errors.or(found)
}

impl When {
    pub(crate) fn parse(
        expression: &Expr,
        event: &'static EventType,
        fields: &[FieldUse],
    ) -> Result<Self> {
        let mut parser = Parser::new(event, fields);
        let condition = parser.condition(expression)?;
        if depth(&condition) > DEPTH_MAX || parts(&condition) > PARTS_MAX {
            return Err(Error::new(
                expression.span(),
                format!(
                    "a condition can have at most {PARTS_MAX} parts and {DEPTH_MAX} levels: check \
                     the rest in the handler"
                ),
            ));
        }
        Ok(Self { condition, params: parser.params, fields: parser.named })
    }

    /// Whether the condition uses the pattern's field with this index.
    pub(crate) fn names(&self, field: usize) -> bool {
        self.fields.contains(&field)
    }

    /// Code that uses each parameter of `rule` as its kind. If a parameter does not exist or has
    /// another type, the compiler reports the error where the condition names it.
    pub(crate) fn params(&self, rule: &str) -> TokenStream {
        self.params
            .iter()
            .map(|(name, kind)| {
                let param = param(rule, name, *kind);
                quote!(let _ = #param;)
            })
            .collect()
    }

    /// The condition as a Rust expression of type `Option<bool>`, on the handler's values
    /// `value_0`, `value_1` and so on.
    pub(crate) fn as_rust(&self, fields: &[FieldUse]) -> TokenStream {
        rust::rust(&self.condition, fields, &self.params)
    }
}

/// Code that reads a parameter as a value of its kind. Its span is the parameter's name in the
/// condition, so that errors point there.
fn param(rule: &str, name: &Ident, kind: Kind) -> TokenStream {
    let of_kind = match kind {
        Kind::Bool => "bool_of",
        Kind::Number => "number_of",
        Kind::Text => "text_of",
    };
    let place = Span::call_site().located_at(name.span());
    let (of_kind, rule) = (Ident::new(of_kind, place), Ident::new(rule, place));
    quote_spanned!(place=> ::hailer_sdk::generated::condition::#of_kind(&#rule.#name))
}

fn unraw(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

fn depth(condition: &Condition) -> usize {
    1 + match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().map(depth).max().unwrap_or_default()
        }
        Condition::Not(part) => depth(part),
        _ => 0,
    }
}

fn parts(condition: &Condition) -> usize {
    1 + match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().map(parts).sum(),
        Condition::Not(part) => parts(part),
        _ => 0,
    }
}
