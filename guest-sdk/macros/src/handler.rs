//! One handler: its signature as the author wrote it, and the code generated from it.

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, event_named};
use hailer_abi::manifest::{ANY_EVENT, Handler as Declared};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItemFn, Lifetime, LitStr, Pat, PatType, Path, Result,
    Token, Type, parse_quote,
};

use crate::condition::{When, misplaced, read_as, take_when};
use crate::naming::{camel_case, columns, did_you_mean};
use crate::pattern::{FieldUse, RecordUse, field_uses};
use crate::signature::{Caller, Signature, take_caller};
use crate::types::{borrows, field_type, is_empty_when_absent};

pub(crate) struct Handler {
    method: ImplItemFn,
    pub(crate) caller: Caller,
    /// The event and its fields; `None` for a timer or a merge.
    event: Option<EventUse>,
    /// The type of the state parameter; `None` if it takes no state.
    pub(crate) state: Option<Type>,
    has_context: bool,
    /// The condition of `#[when]`; `None` if it has none.
    when: Option<When>,
    /// Whether an unusable field counts as absent (`#[lenient]`).
    is_lenient: bool,
}

/// The event that a handler takes, and the fields that it reads.
struct EventUse {
    event: &'static EventType,
    /// The event's type as the author wrote it.
    path: Path,
    pattern: Pat,
    fields: Vec<FieldUse>,
    /// The event codes, each with the span that names it.
    codes: Vec<(String, Span)>,
}

impl Handler {
    pub(crate) fn parse(mut method: ImplItemFn) -> Result<Self> {
        let narrowed = take_codes(&mut method.attrs)?;
        let when = take_when(&mut method.attrs)?;
        let lenient = take_lenient(&mut method.attrs)?;
        let caller = take_caller(&mut method.attrs)?;
        let signature = Signature::of(caller, &method)?;
        let event =
            signature.event.map(|parameter| EventUse::parse(parameter, narrowed)).transpose()?;
        if let Some(span) = lenient.filter(|_| event.is_none()) {
            return Err(Error::new(
                span,
                "`#[lenient]` applies to the fields of an event, and this handler reads none",
            ));
        }
        let (state, has_context) = (signature.state.cloned(), signature.has_context);
        let when = match (&when, &event) {
            (Some(when), Some(event)) => Some(When::parse(when, event.event, &event.fields)?),
            (Some(when), None) => return Err(misplaced(when)),
            (None, _) => None,
        };
        Ok(Self { method, caller, event, state, has_context, when, is_lenient: lenient.is_some() })
    }

    pub(crate) fn declared(&self) -> Declared {
        let name = self.name().trim_matches('_').to_lowercase();
        let timer = (self.caller == Caller::Timer).then(|| name.clone());
        let fields: Vec<_> = self.fields().iter().map(FieldUse::declared).collect();
        let events = self.codes().iter().map(|(code, _)| code.clone()).collect();
        let when = self.when.as_ref().map(|when| when.condition.clone());
        let strict = !fields.is_empty() && !self.is_lenient;
        Declared { name, events, timer, merge: self.caller == Caller::Merge, fields, when, strict }
    }

    /// Code that uses each parameter that the condition names, so that the compiler checks them;
    /// `None` without a condition.
    pub(crate) fn condition_params(&self, rule: &str) -> Option<TokenStream> {
        self.when.as_ref().map(|when| when.params(rule))
    }

    /// The match arm that evaluates the condition in Rust; `None` without a condition.
    pub(crate) fn condition_arm(&self, number: u32) -> Option<TokenStream> {
        let condition = self.when.as_ref()?.as_rust(self.fields());
        let count = self.fields().len() as u32;
        let values = (0..self.fields().len()).map(|at| format_ident!("value_{at}"));
        let types = self.fields().iter().map(|use_| read_as(use_.field));
        Some(quote! {
            #number => {
                let _ = reader.record(#count);
                #(let #values: #types = ::hailer_sdk::generated::FromWire::read(reader);)*
                #condition
            }
        })
    }

    /// The event codes that the handler takes, each with the span that names it.
    pub(crate) fn codes(&self) -> &[(String, Span)] {
        self.event.as_ref().map_or(&[], |event| &event.codes)
    }

    pub(crate) fn event_name(&self) -> &'static str {
        self.event.as_ref().map_or("", |event| event.event.name)
    }

    /// The method's name, as the author wrote it.
    pub(crate) fn ident(&self) -> &Ident {
        &self.method.sig.ident
    }

    /// The constant of `Timer` for this handler; `None` if it is not a timer's handler.
    pub(crate) fn timer_constant(&self, number: u32) -> Option<TokenStream> {
        let timer = self.declared().timer?;
        let constant =
            Ident::new(&self.name().trim_matches('_').to_uppercase(), self.ident().span());
        let doc = format!("The timer that calls `{}`.", self.ident());
        Some(quote! {
            #[doc = #doc]
            pub(crate) const #constant: ::hailer_sdk::TimerId =
                ::hailer_sdk::generated::timer(#number, #timer);
        })
    }

    fn name(&self) -> String {
        self.ident().to_string().trim_start_matches("r#").to_owned()
    }

    fn fields(&self) -> &[FieldUse] {
        self.event.as_ref().map_or(&[], |event| &event.fields)
    }

    /// The start of the error for a second handler of the same code.
    pub(crate) fn describes(&self, code: &str) -> String {
        let name = self.ident();
        if code == ANY_EVENT {
            format!("`{name}` already takes every other event")
        } else {
            format!("`{name}` already takes `{code}`")
        }
    }

    /// The method, with the fields that it reads as parameters in place of the event.
    pub(crate) fn method(&self) -> ImplItemFn {
        let mut method = self.method.clone();
        if self.event.is_some() {
            let lifetime: Lifetime = parse_quote!('_);
            let fields = self.fields().iter().enumerate().map(|(at, use_)| -> FnArg {
                // A field that only the condition uses is still named by the pattern, so it must
                // not cause a warning.
                let is_asked = self.when.as_ref().is_some_and(|when| when.names(at));
                let allowed = is_asked.then(|| quote!(#[allow(unused_variables)]));
                let record =
                    use_.record.as_ref().map(|record| self.element_type(record, &lifetime));
                let (binding, type_) =
                    (&use_.binding, field_type(use_.field, &lifetime, record.as_ref()));
                parse_quote!(#allowed #binding: #type_)
            });
            let inputs = &self.method.sig.inputs;
            let (receiver, after_event) = (inputs.first().cloned(), inputs.iter().skip(2).cloned());
            method.sig.inputs = receiver.into_iter().chain(fields).chain(after_event).collect();
        }
        method.attrs.push(
            parse_quote!(#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]),
        );
        method
    }

    /// The element types of the lists that the handler reads.
    pub(crate) fn elements(&self) -> TokenStream {
        self.records().map(|record| self.element(record)).collect()
    }

    /// The match arm of the dispatch: reads the state and the fields, and calls the method.
    pub(crate) fn arm(&self, number: u32) -> TokenStream {
        let name = self.ident();
        // The span is the return type, so that an error about it points there.
        let span = self.method.sig.output.span();
        let finish = match &self.state {
            None => quote_spanned!(span=> ::hailer_sdk::generated::finish(context, outcome)),
            Some(_) => {
                quote_spanned! {span=>
                    ::hailer_sdk::generated::finish_with(context, outcome, &state, kept)
                }
            }
        };
        let load = self.state.as_ref().map(|type_| {
            quote! {
                let Some(mut state) =
                    ::hailer_sdk::generated::state::kept::<#type_>(kept, context)
                else {
                    return reader.skip(1);
                };
            }
        });
        let context = quote!(&mut *context);
        let lent = self.state.as_ref().map(|_| quote!(&mut state,));
        if self.caller == Caller::Merge {
            let other = self.state.as_ref().map(|type_| {
                quote! {
                    let Some(other) =
                        ::hailer_sdk::generated::state::kept::<#type_>(of_other, context)
                    else {
                        return;
                    };
                }
            });
            let other_value = self.state.as_ref().map(|_| quote!(other,));
            let merge_context = self
                .has_context
                .then(|| quote!(&mut ::hailer_sdk::MergeContext::new(#context, timers)));
            return quote! {
                #number => {
                    #load
                    #[allow(unused_variables)]
                    let (of_other, timers) = ::hailer_sdk::generated::merge_fields(reader);
                    #other
                    let outcome = self.#name(#lent #other_value #merge_context);
                    #finish
                }
            };
        }
        let count = self.fields().len() as u32;
        let values: Vec<Ident> =
            (0..self.fields().len()).map(|at| format_ident!("value_{at}")).collect();
        let reads = self
            .fields()
            .iter()
            .map(|use_| read(use_.field.required, is_empty_when_absent(use_.field)));
        quote! {
            #number => {
                #load
                let unknown = reader.record(#count);
                #(let #values = #reads;)*
                reader.skip(unknown);
                let outcome = self.#name(#(#values,)* #lent #context);
                #finish
            }
        }
    }

    /// Code that matches the author's pattern against the event types. It is never called, but it
    /// lets editors complete and explain the fields.
    pub(crate) fn check(&self) -> TokenStream {
        let Some(event) = &self.event else { return TokenStream::new() };
        let whole = Ident::new("event", Span::call_site());
        let (pattern, type_) = (without_lists(&event.pattern), with_any_lifetime(&event.path));
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
        self.fields().iter().filter_map(|use_| use_.record.as_ref())
    }

    fn element_name(&self, record: &RecordUse) -> Ident {
        let handler = camel_case(&self.name());
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
        let reads = record
            .fields
            .iter()
            .map(|sub| read(sub.field.required, is_empty_when_absent(sub.field)));
        let count = record.fields.len() as u32;
        let doc =
            format!("The fields of a `{}` that `{}` reads.", record.record.name, self.ident());
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

impl EventUse {
    fn parse(parameter: &PatType, narrowed: Option<Narrowed>) -> Result<Self> {
        let Type::Path(type_) = &*parameter.ty else { return Err(unknown_event(&parameter.ty)) };
        let (pattern, path) = ((*parameter.pat).clone(), type_.path.clone());
        let name = path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let event = event_named(&name).ok_or_else(|| unknown_event(&path))?;
        let fields = field_uses(event, &pattern)?;
        let codes = match narrowed {
            Some((codes, _)) if event.name == ANY_EVENT_TYPE.name => codes,
            Some((_, span)) => {
                return Err(Error::new(
                    span,
                    "`#[on]` needs a handler of `AnyEvent`; this event already has its codes",
                ));
            }
            None => event.all_codes().map(|code| (code.to_owned(), path.span())).collect(),
        };
        Ok(Self { event, path, pattern, fields, codes })
    }
}

fn element_borrows(record: &RecordUse) -> bool {
    record.fields.iter().any(|sub| borrows(sub.field))
}

/// Code that reads a field's value; its type is inferred.
fn read(required: bool, empty_when_absent: bool) -> TokenStream {
    let read = quote!(::hailer_sdk::generated::FromWire::read(reader));
    if empty_when_absent && !required {
        quote!(::core::option::Option::unwrap_or_default(#read))
    } else {
        read
    }
}

/// The pattern with `_` for every list; the patterns of list elements are checked separately.
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

fn unknown_event(type_: &impl ToTokens) -> Error {
    let name = type_.to_token_stream().to_string();
    let names = || EVENTS.iter().chain([&ANY_EVENT_TYPE]).map(|event| event.name);
    let meant = did_you_mean(&name, names());
    Error::new_spanned(
        type_,
        format!(
            "`{name}` is not an event{meant}\nthe events are:{}\nmethods that are not handlers \
             belong in a plain `impl` block",
            columns(names())
        ),
    )
}

/// Removes `#[lenient]` and returns its span; `None` if it is absent.
fn take_lenient(attributes: &mut Vec<Attribute>) -> Result<Option<Span>> {
    let Some(at) = attributes.iter().position(|attribute| attribute.path().is_ident("lenient"))
    else {
        return Ok(None);
    };
    let attribute = attributes.remove(at);
    attribute.meta.require_path_only()?;
    Ok(Some(attribute.span()))
}

/// Event codes that `#[on]` names, each with its span, and the span of the attribute.
type Narrowed = (Vec<(String, Span)>, Span);

/// Removes `#[on("OnSomething", ...)]` and returns its codes; `None` if it is absent.
fn take_codes(attributes: &mut Vec<Attribute>) -> Result<Option<Narrowed>> {
    let Some(at) = attributes.iter().position(|attribute| attribute.path().is_ident("on")) else {
        return Ok(None);
    };
    let attribute = attributes.remove(at);
    let codes = attribute
        .parse_args_with(Punctuated::<LitStr, Token![,]>::parse_terminated)
        .map_err(|error| {
            let form = "write the event codes as strings: `#[on(\"OnSomething\")]`; a condition \
                        is written `#[when(amount >= 100)]`";
            Error::new(error.span(), form)
        })?;
    if codes.is_empty() {
        return Err(Error::new_spanned(
            attribute,
            "name at least one event code: `#[on(\"OnSomething\")]`",
        ));
    }
    if let Some(code) =
        codes.iter().find(|code| code.value().is_empty() || code.value() == ANY_EVENT)
    {
        return Err(Error::new_spanned(
            code,
            "this is not an event code; without `#[on]` the handler takes every code",
        ));
    }
    Ok(Some((codes.iter().map(|code| (code.value(), code.span())).collect(), attribute.span())))
}
