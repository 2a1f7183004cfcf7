//! Generates a condition as Rust code, on the values that a handler gets.

use hailer_abi::catalogue::FieldDef;
use hailer_abi::condition::{Condition, Kind, Operand};
use hailer_abi::manifest::FieldKind;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{BinOp, Ident};

use super::{param, unraw};
use crate::pattern::FieldUse;

/// Generates an expression of type `Option<bool>` on the values `value_0`, `value_1` and so on.
pub(super) fn rust(
    condition: &Condition,
    fields: &[FieldUse],
    params: &[(Ident, Kind)],
) -> TokenStream {
    written(condition, &AsRust { fields, params })
}

/// Resolves the names of fields and parameters in the generated code.
struct AsRust<'a> {
    fields: &'a [FieldUse],
    params: &'a [(Ident, Kind)],
}

fn written(condition: &Condition, names: &AsRust<'_>) -> TokenStream {
    let all = |parts: &[Condition]| -> Vec<TokenStream> {
        parts.iter().map(|part| written(part, names)).collect()
    };
    if let Some((comparison, left, right)) = condition.comparison() {
        let (left, right) = (names.operand(left), names.operand(right));
        let sign: BinOp =
            syn::parse_str(comparison.sign()).expect("every comparison is a Rust operator");
        return quote! {
            ::core::option::Option::zip(#left, #right).map(|(left, right)| left #sign right)
        };
    }
    match condition {
        Condition::All(parts) => {
            let parts = all(parts);
            quote!(::hailer_sdk::generated::condition::all(&[#(#parts),*]))
        }
        Condition::Any(parts) => {
            let parts = all(parts);
            quote!(::hailer_sdk::generated::condition::any(&[#(#parts),*]))
        }
        Condition::Not(part) => {
            let part = written(part, names);
            quote!(#part.map(|is: bool| !is))
        }
        Condition::Is(operand) => names.operand(operand),
        Condition::Present(name) => {
            let value = names.value(name);
            quote!(::core::option::Option::Some(#value.is_some()))
        }
        Condition::Absent(name) => {
            let value = names.value(name);
            quote!(::core::option::Option::Some(#value.is_none()))
        }
        _ => TokenStream::new(),
    }
}

impl AsRust<'_> {
    fn place(&self, name: &str) -> usize {
        self.fields.iter().position(|use_| use_.field.name == name).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Ident {
        format_ident!("value_{}", self.place(name))
    }

    /// Generates an operand as an `Option` of a type that Rust compares in the same way as
    /// conditions do.
    fn operand(&self, operand: &Operand) -> TokenStream {
        let some = |value: TokenStream| quote!(::core::option::Option::Some(#value));
        match operand {
            Operand::Field(name) => {
                let value = self.value(name);
                match Kind::of_field(self.fields[self.place(name)].field.kind) {
                    Some(Kind::Number) => quote!(#value.map(::hailer_sdk::Decimal::from)),
                    _ => quote!(#value),
                }
            }
            Operand::Param(name) => {
                match self.params.iter().find(|(param, _)| unraw(param) == *name) {
                    Some((param_name, kind)) => some(param("self", param_name, *kind)),
                    None => TokenStream::new(),
                }
            }
            Operand::Int(value) => some(quote!(::hailer_sdk::Decimal::from(#value))),
            Operand::Decimal(text) => {
                some(quote!(const { ::hailer_sdk::generated::literal(#text) }))
            }
            Operand::Text(text) => some(quote!(#text)),
            Operand::Bool(value) => some(quote!(#value)),
        }
    }
}

/// The type of a field in the generated code. It is always an `Option`, as the field may be absent.
pub(crate) fn read_as(field: &FieldDef) -> TokenStream {
    match field.kind {
        FieldKind::Bool => quote!(::core::option::Option<bool>),
        FieldKind::Int => quote!(::core::option::Option<i64>),
        FieldKind::Decimal => quote!(::core::option::Option<::hailer_sdk::Decimal>),
        FieldKind::Str | FieldKind::Id => quote!(::core::option::Option<&str>),
        _ => quote!(::core::option::Option<::hailer_sdk::Raw<'_>>),
    }
}
