//! One handler: its signature as the author wrote it, and what becomes of it.

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, event_named};
use hailer_abi::manifest::{ANY_EVENT, Handler as Declared};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItemFn, Lifetime, LitStr, Pat, PatType, Path, Result, Token, Type, parse_quote,
};

use crate::naming::{camel_case, columns, did_you_mean};
use crate::pattern::{FieldUse, RecordUse, field_uses};
use crate::types::{borrows, field_type, is_empty_when_absent};

pub(crate) struct Handler {
    method: ImplItemFn,
    event: &'static EventType,
    /// The event's type as the author wrote it.
    event_path: Path,
    pattern: Pat,
    fields: Vec<FieldUse>,
    /// Codes, each with the place that names it.
    pub(crate) codes: Vec<(String, Span)>,
}

impl Handler {
    pub(crate) fn parse(mut method: ImplItemFn) -> Result<Self> {
        refuse_what_is_not_there_yet(&method)?;
        let narrowed = take_codes(&mut method.attrs)?;
        let (pattern, event_path) = {
            let parameter = event_parameter(&method)?;
            let Type::Path(type_) = &*parameter.ty else { return Err(unknown_event(&parameter.ty)) };
            ((*parameter.pat).clone(), type_.path.clone())
        };
        let name = event_path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let event = event_named(&name).ok_or_else(|| unknown_event(&event_path))?;
        check_context(&method)?;
        let fields = field_uses(event, &pattern)?;
        let codes = match narrowed {
            Some((codes, _)) if event.name == ANY_EVENT_TYPE.name => codes,
            Some((_, span)) => {
                return Err(Error::new(span, "`#[on]` narrows a handler of `AnyEvent`; this event has its codes"));
            }
            None => event.all_codes().map(|code| (code.to_owned(), event_path.span())).collect(),
        };
        Ok(Self { method, event, event_path, pattern, fields, codes })
    }

    pub(crate) fn declared(&self) -> Declared {
        Declared {
            name: self.method.sig.ident.to_string().trim_start_matches("r#").trim_matches('_').to_lowercase(),
            events: self.codes.iter().map(|(code, _)| code.clone()).collect(),
            fields: self.fields.iter().map(FieldUse::declared).collect(),
        }
    }

    pub(crate) fn event_name(&self) -> &'static str {
        self.event.name
    }

    /// What a second handler for the same code is told.
    pub(crate) fn describes(&self, code: &str) -> String {
        let name = &self.method.sig.ident;
        if code == ANY_EVENT {
            format!("`{name}` takes every other event already")
        } else {
            format!("`{name}` takes `{code}` already")
        }
    }

    /// The method, with the fields it reads in place of the event.
    pub(crate) fn method(&self) -> ImplItemFn {
        let mut method = self.method.clone();
        let lifetime: Lifetime = parse_quote!('_);
        let fields = self.fields.iter().map(|use_| -> FnArg {
            let record = use_.record.as_ref().map(|record| self.element_type(record, &lifetime));
            let (binding, type_) = (&use_.binding, field_type(use_.field, &lifetime, record.as_ref()));
            parse_quote!(#binding: #type_)
        });
        let receiver = method.sig.inputs.first().cloned();
        let context = method.sig.inputs.last().cloned();
        method.sig.inputs = receiver.into_iter().chain(fields).chain(context).collect();
        method.attrs.push(parse_quote!(#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]));
        method
    }

    /// The types of the elements of the lists that it reads.
    pub(crate) fn elements(&self) -> TokenStream {
        self.records().map(|record| self.element(record)).collect()
    }

    /// The arm of the dispatch: reads the fields and calls the method.
    pub(crate) fn arm(&self, number: u32) -> TokenStream {
        let name = &self.method.sig.ident;
        let count = self.fields.len() as u32;
        let values: Vec<Ident> = (0..self.fields.len()).map(|at| format_ident!("value_{at}")).collect();
        let reads = self.fields.iter().map(|use_| read(use_.field.required, is_empty_when_absent(use_.field)));
        // Spanned at the return type, so that a wrong one is shown there.
        let call = quote_spanned!(self.method.sig.output.span()=> ::hailer_sdk::generated::finish(context, outcome));
        quote! {
            #number => {
                let unknown = reader.record(#count);
                #(let #values = #reads;)*
                reader.skip(unknown);
                let outcome = self.#name(#(#values,)* &mut *context);
                #call
            }
        }
    }

    /// The author's pattern against the real types: never called, but it lets editors complete and explain the fields.
    pub(crate) fn check(&self) -> TokenStream {
        let whole = Ident::new("event", Span::call_site());
        let (pattern, type_) = (without_lists(&self.pattern), with_any_lifetime(&self.event_path));
        let records = self.records().map(|record| {
            let (pattern, type_) = (&record.pattern, with_any_lifetime(&record.pattern.path));
            quote!({ fn check(record: #type_) { let #pattern = record; } })
        });
        quote! {
            #[allow(unused, clippy::all, clippy::pedantic)]
            const _: () = {
                fn check(#whole: #type_) { let #pattern = #whole; }
                #(#records)*
            };
        }
    }

    fn records(&self) -> impl Iterator<Item = &RecordUse> {
        self.fields.iter().filter_map(|use_| use_.record.as_ref())
    }

    fn element_name(&self, record: &RecordUse) -> Ident {
        let handler = camel_case(self.method.sig.ident.to_string().trim_start_matches("r#"));
        Ident::new(&format!("{handler}{}", record.record.name), record.pattern.path.span())
    }

    fn element_type(&self, record: &RecordUse, lifetime: &Lifetime) -> TokenStream {
        let name = self.element_name(record);
        if element_borrows(record) { quote!(#name<#lifetime>) } else { quote!(#name) }
    }

    fn element(&self, record: &RecordUse) -> TokenStream {
        let lifetime: Lifetime = parse_quote!('event);
        let generics = element_borrows(record).then(|| quote!(<#lifetime>));
        let (name, visibility) = (self.element_name(record), &self.method.vis);
        let names: Vec<&Ident> = record.fields.iter().map(|sub| &sub.name).collect();
        let types = record.fields.iter().map(|sub| field_type(sub.field, &lifetime, None));
        let reads = record.fields.iter().map(|sub| read(sub.field.required, is_empty_when_absent(sub.field)));
        let count = record.fields.len() as u32;
        let doc = format!("What `{}` reads of each `{}`.", self.method.sig.ident, record.record.name);
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, PartialEq)]
            #visibility struct #name #generics { #(#visibility #names: #types,)* }

            impl<#lifetime> ::hailer_sdk::generated::FromWire<#lifetime> for #name #generics {
                #[inline]
                fn read(reader: &mut ::hailer_sdk::generated::Reader<#lifetime>) -> Self {
                    let unknown = reader.record(#count);
                    let element = Self { #(#names: #reads,)* };
                    reader.skip(unknown);
                    element
                }
            }
        }
    }
}

fn element_borrows(record: &RecordUse) -> bool {
    record.fields.iter().any(|sub| borrows(sub.field))
}

/// Reads a field's value. The type is the receiving place's to say.
fn read(required: bool, empty_when_absent: bool) -> TokenStream {
    let read = quote!(::hailer_sdk::generated::FromWire::read(reader));
    if empty_when_absent && !required { quote!(::core::option::Option::unwrap_or_default(#read)) } else { read }
}

/// The pattern with `_` for every list: what is read of their elements is a pattern of its own.
fn without_lists(pattern: &Pat) -> Pat {
    let mut pattern = pattern.clone();
    if let Pat::Struct(fields) = &mut pattern {
        for named in &mut fields.fields {
            let renamed_list = matches!(&*named.pat, Pat::Ident(bound) if bound.subpat.is_some());
            if renamed_list || matches!(*named.pat, Pat::Slice(_)) {
                *named.pat = parse_quote!(_);
            }
        }
    }
    pattern
}

fn with_any_lifetime(path: &Path) -> Path {
    let mut path = path.clone();
    if let Some(last) = path.segments.last_mut() {
        last.arguments = syn::PathArguments::AngleBracketed(parse_quote!(<'_>));
    }
    path
}

/// The parameter between `&self` and the context.
fn event_parameter(method: &ImplItemFn) -> Result<&PatType> {
    let signature = &method.sig;
    let form = "a handler is `fn name(&self, Event { field, .. }: Event, ctx: &mut Context)`; \
                other methods belong in a plain `impl` block";
    let error = |span: Span, what: &str| Err(Error::new(span, format!("{what}\n{form}")));
    if let Some(asyncness) = signature.asyncness {
        return error(asyncness.span(), "a handler can't be async: there is nothing that it could wait for");
    }
    if !signature.generics.params.is_empty() {
        return error(signature.generics.span(), "a handler has no generics");
    }
    match signature.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.mutability.is_none() => {}
        Some(receiver) => return error(receiver.span(), "a handler takes `&self`: the parameters don't change"),
        None => return error(signature.ident.span(), "this is no handler: it has no `&self`"),
    }
    match signature.inputs.get(1) {
        Some(FnArg::Typed(parameter)) if !is_context(&parameter.ty) => Ok(parameter),
        _ => error(signature.ident.span(), "this is no handler: it takes no event"),
    }
}

fn check_context(method: &ImplItemFn) -> Result<()> {
    for input in method.sig.inputs.iter().skip(2) {
        let FnArg::Typed(parameter) = input else { continue };
        let name = parameter.pat.to_token_stream().to_string();
        if name == "state" || name.ends_with(" state") {
            return Err(Error::new(
                parameter.span(),
                "rules have no state in this version of the SDK: decide by the event alone",
            ));
        }
    }
    match method.sig.inputs.iter().nth(2) {
        Some(FnArg::Typed(parameter)) if is_mutable_context(&parameter.ty) => {}
        Some(other) => return Err(Error::new(type_span(other), "a handler's last parameter is `ctx: &mut Context`")),
        None => {
            return Err(Error::new(
                method.sig.paren_token.span.close(),
                "a handler's last parameter is missing: `ctx: &mut Context`",
            ));
        }
    }
    match method.sig.inputs.iter().nth(3) {
        Some(more) => {
            Err(Error::new(more.span(), "a handler takes one event and `ctx: &mut Context`, and nothing more"))
        }
        None => Ok(()),
    }
}

fn type_span(input: &FnArg) -> Span {
    match input {
        FnArg::Typed(parameter) => parameter.ty.span(),
        FnArg::Receiver(receiver) => receiver.span(),
    }
}

fn is_context(type_: &Type) -> bool {
    let inner = if let Type::Reference(reference) = type_ { &reference.elem } else { type_ };
    matches!(inner, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Context"))
}

fn is_mutable_context(type_: &Type) -> bool {
    matches!(type_, Type::Reference(reference) if reference.mutability.is_some()) && is_context(type_)
}

fn unknown_event(type_: &impl ToTokens) -> Error {
    let name = type_.to_token_stream().to_string();
    let names = || EVENTS.iter().chain([&ANY_EVENT_TYPE]).map(|event| event.name);
    let meant = did_you_mean(&name, names());
    Error::new_spanned(
        type_,
        format!(
            "`{name}` is no event{meant}\nthere are:{}\nmethods that are no handlers belong in a plain `impl` block",
            columns(names())
        ),
    )
}

fn refuse_what_is_not_there_yet(method: &ImplItemFn) -> Result<()> {
    match method.attrs.iter().find(|attribute| attribute.path().is_ident("timer")) {
        Some(timer) => Err(Error::new_spanned(
            timer,
            "there are no timers in this version of the SDK: a handler runs when an event comes",
        )),
        None => Ok(()),
    }
}

/// Event codes that an attribute names, each with its place, and where the attribute stands.
type Narrowed = (Vec<(String, Span)>, Span);

/// The codes of `#[on("OnSomething", ...)]`, which is taken off.
fn take_codes(attributes: &mut Vec<Attribute>) -> Result<Option<Narrowed>> {
    let Some(at) = attributes.iter().position(|attribute| attribute.path().is_ident("on")) else { return Ok(None) };
    let attribute = attributes.remove(at);
    let codes = attribute
        .parse_args_with(Punctuated::<LitStr, Token![,]>::parse_terminated)
        .map_err(|error| Error::new(error.span(), "write the event codes as texts: `#[on(\"OnSomething\")]`"))?;
    if codes.is_empty() {
        return Err(Error::new_spanned(attribute, "name at least one event code: `#[on(\"OnSomething\")]`"));
    }
    if let Some(code) = codes.iter().find(|code| code.value().is_empty() || code.value() == ANY_EVENT) {
        return Err(Error::new_spanned(code, "this is no event code; without `#[on]` the handler takes every code"));
    }
    Ok(Some((codes.iter().map(|code| (code.value(), code.span())).collect(), attribute.span())))
}
