//! The Rust types of fields, and the event types of the SDK.

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, FieldDef, RECORDS, RecordType};
use hailer_abi::manifest::FieldKind;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Lifetime;

/// A field's Rust type. Strings are borrowed for `lifetime`; `record` is the type of a list's
/// elements.
pub(crate) fn field_type(
    field: &FieldDef,
    lifetime: &Lifetime,
    record: Option<&TokenStream>,
) -> TokenStream {
    let plain = match field.kind {
        FieldKind::Bool => quote!(::core::primitive::bool),
        FieldKind::Int => quote!(::core::primitive::i64),
        FieldKind::Float => quote!(::core::primitive::f64),
        FieldKind::Str | FieldKind::Id => quote!(&#lifetime ::core::primitive::str),
        FieldKind::Decimal => quote!(::hailer_sdk::Decimal),
        FieldKind::Timestamp => quote!(::hailer_sdk::Timestamp),
        FieldKind::Map => {
            quote!(::hailer_sdk::Map<&#lifetime ::core::primitive::str, ::hailer_sdk::Decimal>)
        }
        FieldKind::List => quote!(::std::vec::Vec<#record>),
        FieldKind::Raw => quote!(::hailer_sdk::Raw<#lifetime>),
    };
    if field.required || is_empty_when_absent(field) {
        plain
    } else {
        quote!(::core::option::Option<#plain>)
    }
}

/// Whether the field is empty when it is absent. This holds for lists and maps, because no handler
/// needs to distinguish the two.
pub(crate) fn is_empty_when_absent(field: &FieldDef) -> bool {
    matches!(field.kind, FieldKind::List | FieldKind::Map) && !field.required
}

/// Whether a field's type, other than a list, borrows from the input.
pub(crate) fn borrows(field: &FieldDef) -> bool {
    matches!(field.kind, FieldKind::Str | FieldKind::Id | FieldKind::Map | FieldKind::Raw)
}

/// Generates the content of `hailer_sdk::events`.
pub(crate) fn event_types() -> TokenStream {
    let records = RECORDS.iter().map(|record| record_type(record));
    let events = EVENTS.iter().chain([&ANY_EVENT_TYPE]).map(event_type);
    quote!(#(#events)* #(#records)*)
}

fn event_type(event: &EventType) -> TokenStream {
    let name = format_ident!("{}", event.name);
    let mut doc = format!("{}\n\n", event.doc);
    let code = |code: &&str| format!("`{code}`");
    if event.codes != ["*"] {
        doc +=
            &format!("Event code: {}", event.codes.iter().map(code).collect::<Vec<_>>().join(", "));
        if !event.guessed_codes.is_empty() {
            let guessed = event.guessed_codes.iter().map(code).collect::<Vec<_>>().join(", ");
            doc += &format!(
                ", and {guessed}: codes of Loymax's public API that are assumed to mean this event"
            );
        }
        doc += &format!(
            ".\nRouting key: `{}`.\n\nThe source's example:\n\n```json\n{}\n```\n",
            event.routing_key,
            event.sample.trim_end()
        );
    }
    let fields = fields(event.fields);
    quote! {
        #[doc = #doc]
        #[non_exhaustive]
        #[derive(Clone, Debug)]
        pub struct #name<'event> { #(#fields)* }
    }
}

fn record_type(record: &RecordType) -> TokenStream {
    let (name, doc, fields) = (format_ident!("{}", record.name), record.doc, fields(record.fields));
    quote! {
        #[doc = #doc]
        #[non_exhaustive]
        #[derive(Clone, Debug)]
        pub struct #name<'event> { #(#fields)* }
    }
}

fn fields(fields: &[FieldDef]) -> impl Iterator<Item = TokenStream> {
    let lifetime: Lifetime = syn::parse_quote!('event);
    fields.iter().map(move |field| {
        let name = format_ident!("{}", field.name);
        let record = field.record.map(|record| {
            let name = format_ident!("{}", record.name);
            quote!(#name<#lifetime>)
        });
        let type_ = field_type(field, &lifetime, record.as_ref());
        let doc = field_doc(field);
        quote!(#[doc = #doc] pub #name: #type_,)
    })
}

fn field_doc(field: &FieldDef) -> String {
    let paths: Vec<_> = field
        .paths
        .iter()
        .map(|path| format!("`{}`", if path.is_empty() { "/" } else { path }))
        .collect();
    let personal = if field.personal {
        format!(
            "\n\n**Personal**: a campaign file must grant it: `personal = [\"{}\"]`.",
            field.name
        )
    } else {
        String::new()
    };
    format!("{}{personal}\n\nRead from {}.", field.doc, paths.join(" or "))
}
