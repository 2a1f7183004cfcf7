//! `#[handlers]`: generates the manifest, the dispatch and the module's exports from the methods.

use std::collections::BTreeMap;

use hailer_abi::manifest::MERGES_WITH_TIMERS;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, Result};

use crate::handler::Handler;
use crate::pattern::Errors;
use crate::signature::{Caller, same};

pub(crate) fn expand(arguments: &TokenStream, mut block: ItemImpl) -> TokenStream {
    let rule = block.self_ty.clone();
    let mut errors = Errors::default();
    if !arguments.is_empty() {
        errors.add(Error::new_spanned(arguments, "`#[handlers]` takes no arguments"));
    }
    if let Some((_, trait_, _)) = &block.trait_ {
        errors.add(Error::new_spanned(
            trait_,
            "`#[handlers]` needs a plain `impl` block, without a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        errors.add(Error::new_spanned(&block.generics, "a rule can't be generic"));
    }
    let (methods, others): (Vec<_>, Vec<_>) = std::mem::take(&mut block.items)
        .into_iter()
        .partition(|item| matches!(item, ImplItem::Fn(_)));
    let mut configure = None;
    let mut handlers = Vec::new();
    for method in methods {
        let ImplItem::Fn(method) = method else { continue };
        match take_configure(method) {
            Ok(method) if configure.is_some() => {
                errors.add(Error::new_spanned(method.sig, "only one method can be `#[configure]`"))
            }
            Ok(method) => configure = Some(method),
            Err(method) => match Handler::parse(*method) {
                Ok(handler) => handlers.push(handler),
                Err(error) => errors.add(error),
            },
        }
    }
    for check in [refuse_shared_codes, refuse_two_states, refuse_two_merges] {
        if let Err(error) = check(&handlers) {
            errors.add(error);
        }
    }
    let checks: TokenStream = handlers.iter().map(Handler::check).collect();
    if let Err(error) = errors.or(()) {
        let error = error.into_compile_error();
        let stub = stub(&rule);
        // Editors use this to complete and explain fields while the author is still typing.
        let checks = quote! {
            #[allow(unexpected_cfgs)]
            const _: () = {
                #[cfg(rust_analyzer)]
                const _: () = { #checks };
            };
        };
        return quote!(#error #stub #checks);
    }
    let configured = match &configure {
        Some(method) => {
            let name = &method.sig.ident;
            quote_spanned! {method.sig.output.span()=>
                ::hailer_sdk::generated::Outcome::error(self.#name()).map_or(Ok(()), Err)
            }
        }
        None => quote!(Ok(())),
    };
    block.items = others;
    block.items.extend(configure.map(ImplItem::Fn));
    block.items.extend(handlers.iter().map(|handler| ImplItem::Fn(handler.method())));
    let elements = handlers.iter().map(Handler::elements);
    let arms = handlers.iter().zip(0..).map(|(handler, number)| handler.arm(number));
    let declared: Vec<_> = handlers.iter().map(Handler::declared).collect();
    let declared = serde_json::to_string(&declared).unwrap_or_default();
    let state_version = match handlers.iter().find_map(|handler| handler.state.as_ref()) {
        Some(state) => {
            quote! {
                const { &::hailer_sdk::generated::digits(<#state as ::hailer_sdk::State>::VERSION) }
                    .text()
            }
        }
        None => quote!("null"),
    };
    let is_timed = handlers.iter().any(|handler| handler.caller != Caller::Event);
    let end = if is_timed { format!(",\"merges\":{MERGES_WITH_TIMERS}}}") } else { "}".to_owned() };
    let timers = timers(&handlers);
    let condition = condition(&handlers);
    let params: TokenStream =
        handlers.iter().filter_map(|handler| handler.condition_params("rule")).collect();
    // In a native build, the compiler checks the condition in its Rust form.
    let params = (!params.is_empty()).then(|| {
        quote! {
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                #[allow(unused, clippy::all, clippy::pedantic)]
                fn check(rule: &#rule) { #params }
            };
        }
    });
    quote! {
        #block
        #(#elements)*
        #timers
        #checks
        #params

        const _: () = {
            const PARTS: &[&str] = &[
                <#rule as ::hailer_sdk::generated::Declared>::DECLARATION,
                ",\"handlers\":",
                #declared,
                ",\"stateVersion\":",
                #state_version,
                #end,
            ];
            const LENGTH: usize = ::hailer_sdk::generated::length(PARTS);

            impl ::hailer_sdk::Rule for #rule {
                const MANIFEST: &'static str = {
                    const BYTES: [u8; LENGTH] = ::hailer_sdk::generated::concat(PARTS);
                    match ::core::str::from_utf8(&BYTES) {
                        Ok(manifest) => manifest,
                        Err(_) => panic!("concatenated strings are valid UTF-8"),
                    }
                };

                fn configure(&self) -> ::core::result::Result<(), ::std::string::String> {
                    #configured
                }

                #[inline]
                fn handle(
                    &self,
                    handler: u32,
                    kept: ::hailer_sdk::generated::Reader<'_>,
                    reader: &mut ::hailer_sdk::generated::Reader<'_>,
                    context: &mut ::hailer_sdk::Context,
                ) {
                    let _ = kept;
                    match handler {
                        #(#arms)*
                        _ => ::hailer_sdk::generated::malformed(),
                    }
                }

                #condition
            }
        };

        ::hailer_sdk::__module!(#rule);
    }
}

/// The function `condition`, with the handlers' conditions as plain Rust; `None` if there are none.
/// It is not compiled into modules, because the host checks conditions before it calls. Tests
/// compare its result with the host's.
fn condition(handlers: &[Handler]) -> Option<TokenStream> {
    let arms: Vec<_> = handlers
        .iter()
        .zip(0..)
        .filter_map(|(handler, number)| handler.condition_arm(number))
        .collect();
    if arms.is_empty() {
        return None;
    }
    Some(quote! {
        #[cfg(not(target_arch = "wasm32"))]
        #[allow(unused, clippy::all, clippy::pedantic)]
        fn condition(
            &self,
            handler: u32,
            mut fields: ::hailer_sdk::generated::Reader<'_>,
        ) -> ::core::option::Option<bool> {
            let reader = &mut fields;
            match handler {
                #(#arms)*
                _ => ::core::option::Option::Some(true),
            }
        }
    })
}

/// A stub of the rule's handlers when they have errors, so that the compiler reports no errors
/// about missing code.
fn stub(rule: &syn::Type) -> TokenStream {
    quote! {
        impl ::hailer_sdk::Rule for #rule {
            const MANIFEST: &'static str = "";
            fn configure(&self) -> ::core::result::Result<(), ::std::string::String> { Ok(()) }
            fn handle(
                &self,
                _: u32,
                _: ::hailer_sdk::generated::Reader<'_>,
                _: &mut ::hailer_sdk::generated::Reader<'_>,
                _: &mut ::hailer_sdk::Context,
            ) {
            }
        }
    }
}

/// The method without its `#[configure]` (`Ok`), or the unchanged method if it has none (`Err`).
fn take_configure(mut method: ImplItemFn) -> std::result::Result<ImplItemFn, Box<ImplItemFn>> {
    let before = method.attrs.len();
    method.attrs.retain(|attribute| !attribute.path().is_ident("configure"));
    if method.attrs.len() < before { Ok(method) } else { Err(Box::new(method)) }
}

fn refuse_shared_codes(handlers: &[Handler]) -> Result<()> {
    let mut errors = Errors::default();
    let mut taken: BTreeMap<&str, &Handler> = BTreeMap::new();
    for handler in handlers {
        for (code, span) in handler.codes() {
            if let Some(first) = taken.get(code.as_str()) {
                let event = handler.event_name();
                errors.add(Error::new(
                    *span,
                    format!(
                        "{}: a rule can have only one handler for a code of `{event}`",
                        first.describes(code)
                    ),
                ));
                break;
            }
            taken.insert(code, handler);
        }
    }
    errors.or(())
}

/// The type `Timer`, with a constant for each `#[timer]` handler; `None` if there is none.
fn timers(handlers: &[Handler]) -> Option<TokenStream> {
    let constants: Vec<_> = handlers
        .iter()
        .zip(0..)
        .filter_map(|(handler, number)| handler.timer_constant(number))
        .collect();
    if constants.is_empty() {
        return None;
    }
    Some(quote! {
        /// The timers of this rule.
        #[allow(dead_code)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Timer {}

        #[allow(dead_code)]
        impl Timer { #(#constants)* }
    })
}

/// Refuses a second state type: a rule has one state for a customer, shared by all its handlers.
fn refuse_two_states(handlers: &[Handler]) -> Result<()> {
    let mut errors = Errors::default();
    let mut keeping =
        handlers.iter().filter_map(|handler| Some((handler, handler.state.as_ref()?)));
    let Some((first, state)) = keeping.next() else { return Ok(()) };
    for (_, other) in keeping.filter(|(_, other)| !same(other, state)) {
        let (name, state) = (first.ident(), quote!(#state));
        errors.add(Error::new_spanned(
            other,
            format!(
                "`{name}` has the state `{state}`, and a rule has one state for a customer: write \
                 `&mut {state}` here too, and put the members of both into that type"
            ),
        ));
    }
    errors.or(())
}

fn refuse_two_merges(handlers: &[Handler]) -> Result<()> {
    let mut merges = handlers.iter().filter(|handler| handler.caller == Caller::Merge);
    let Some(first) = merges.next() else { return Ok(()) };
    if let Some(second) = merges.next() {
        return Err(Error::new_spanned(second.ident(), "only one method can be `#[merge]`"));
    }
    let mut others = handlers.iter().filter(|handler| handler.caller != Caller::Merge);
    let state = others.clone().find_map(|handler| handler.state.as_ref());
    let has_timers = others.any(|handler| handler.caller == Caller::Timer);
    let reason = match (&first.state, state) {
        (Some(_), None) => {
            "there is no state to merge: no other handler of this rule takes a state (`state: &mut \
             T`)"
        }
        (None, Some(_)) => {
            "this rule has a state: write `fn merge(&self, state: &mut T, other: T, ctx: &mut \
             MergeContext)`"
        }
        (None, None) if !has_timers => {
            "there is nothing to merge: this rule has neither a state (`state: &mut T`) nor a \
             `#[timer]`"
        }
        _ => return Ok(()),
    };
    Err(Error::new_spanned(first.ident(), reason))
}
