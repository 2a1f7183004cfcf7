//! `#[when(...)]`: from the author's expression to the condition in the manifest. What a condition can't say is told at its word, with what
//! to write instead; what the types of parameters are only the compiler knows, and is asked.

mod read;
mod rust;
mod teach;

use hailer_abi::catalogue::EventType;
use hailer_abi::condition::{Condition, DEPTH_MAX, Kind, PARTS_MAX};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, Result};

use crate::pattern::{Errors, FieldUse};
use read::Parser;
pub(crate) use rust::read_as;
pub(crate) use teach::misplaced;

/// A handler's condition.
pub(crate) struct When {
    pub(crate) condition: Condition,
    /// The parameters that it names, each where it does, with the kind that it has to be of.
    params: Vec<(Ident, Kind)>,
    /// The fields that it names, by their place in the pattern.
    fields: Vec<usize>,
}

/// The expression of `#[when(...)]`, which is taken off.
pub(crate) fn take_when(attributes: &mut Vec<Attribute>) -> Result<Option<Expr>> {
    let mut found = None;
    let mut errors = Errors::default();
    attributes.retain(|attribute| {
        if !attribute.path().is_ident("when") {
            return true;
        }
        match attribute.parse_args::<Expr>() {
            Ok(_) if found.is_some() => {
                errors.add(Error::new(attribute.span(), "a handler has one condition: join them with `&&`"));
            }
            Ok(expression) => found = Some(expression),
            Err(error) => errors.add(Error::new(
                error.span(),
                format!("{error}\na condition stands in parentheses: `#[when(amount >= self.threshold)]`"),
            )),
        }
        false
    });
    errors.or(found)
}

impl When {
    pub(crate) fn parse(expression: &Expr, event: &'static EventType, fields: &[FieldUse]) -> Result<Self> {
        let mut parser = Parser::new(event, fields);
        let condition = parser.condition(expression)?;
        if depth(&condition) > DEPTH_MAX || parts(&condition) > PARTS_MAX {
            return Err(Error::new(
                expression.span(),
                format!(
                    "a condition has at most {PARTS_MAX} parts, and nests at most {DEPTH_MAX} deep: decide the rest in the handler"
                ),
            ));
        }
        Ok(Self { condition, params: parser.params, fields: parser.named })
    }

    /// Whether it asks about the field at that place of the pattern.
    pub(crate) fn names(&self, field: usize) -> bool {
        self.fields.contains(&field)
    }

    /// A use of each parameter as what it has to be: whether it is one, and of that type, the compiler says at its word. The
    /// parameters are those of `rule`.
    pub(crate) fn params(&self, rule: &str) -> TokenStream {
        self.params
            .iter()
            .map(|(name, kind)| {
                let param = param(rule, name, *kind);
                quote!(let _ = #param;)
            })
            .collect()
    }

    /// The same condition as Rust, on the values that a handler is given, `value_0` and so on: `Option<bool>`.
    pub(crate) fn as_rust(&self, fields: &[FieldUse]) -> TokenStream {
        rust::rust(&self.condition, fields, &self.params)
    }
}

/// A parameter as a value of its kind. All of it stands where the author named the parameter, so that it is there that an error is shown.
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
        Condition::All(parts) | Condition::Any(parts) => parts.iter().map(depth).max().unwrap_or_default(),
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
