//! A handler's signature: its caller, and which of event, state and context it takes. Each error
//! points at the wrong part and gives the right form.

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, ImplItemFn, PatType, Result, Type};

/// The caller of a handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Event,
    Timer,
    Merge,
}

/// The checked parameters of a handler.
pub(crate) struct Signature<'method> {
    /// The parameter that names the event; `None` for a timer or a merge.
    pub(crate) event: Option<&'method PatType>,
    /// The type `T` of `state: &mut T`; `None` if the handler takes no state.
    pub(crate) state: Option<&'method Type>,
    /// Whether the handler takes a context. Only a merge may omit it.
    pub(crate) has_context: bool,
}

/// Removes `#[timer]` and `#[merge]`, and returns the caller that they name.
pub(crate) fn take_caller(attributes: &mut Vec<Attribute>) -> Result<Caller> {
    let mut caller = Caller::Event;
    let mut second = None;
    attributes.retain(|attribute| {
        let named = match attribute.path() {
            path if path.is_ident("timer") => Caller::Timer,
            path if path.is_ident("merge") => Caller::Merge,
            _ => return true,
        };
        if caller != Caller::Event || attribute.meta.require_path_only().is_err() {
            second = Some(attribute.span());
        }
        caller = named;
        false
    });
    match second {
        Some(span) => Err(Error::new(
            span,
            "a handler can have one `#[timer]` or `#[merge]`, without arguments",
        )),
        None => Ok(caller),
    }
}

impl<'method> Signature<'method> {
    pub(crate) fn of(caller: Caller, method: &'method ImplItemFn) -> Result<Self> {
        check_receiver(caller, method)?;
        let parameters = method.sig.inputs.iter().skip(1).filter_map(|input| match input {
            FnArg::Typed(parameter) => Some(parameter),
            FnArg::Receiver(_) => None,
        });
        let parameters: Vec<&PatType> = parameters.collect();
        match caller {
            Caller::Event => of_event(method, &parameters),
            Caller::Timer => {
                let state = state_before_context(method, caller, &parameters)?;
                Ok(Self { event: None, state, has_context: true })
            }
            Caller::Merge => of_merge(method, &parameters),
        }
    }
}

fn of_event<'method>(
    method: &'method ImplItemFn,
    parameters: &[&'method PatType],
) -> Result<Signature<'method>> {
    match parameters {
        [event, rest @ ..] if !is_context(&event.ty) => {
            let state = state_before_context(method, Caller::Event, rest)?;
            Ok(Signature { event: Some(event), state, has_context: true })
        }
        _ => Err(wrong(
            Caller::Event,
            method.sig.ident.span(),
            "this is not a handler: it takes no event",
        )),
    }
}

/// The type of the state, from the parameters after the event; `None` if there is no state.
fn state_before_context<'method>(
    method: &'method ImplItemFn,
    caller: Caller,
    parameters: &[&'method PatType],
) -> Result<Option<&'method Type>> {
    match parameters {
        [context] if is_mutable_context(&context.ty) => Ok(None),
        [state, context] if is_mutable_context(&context.ty) => match mutable(&state.ty) {
            Some(type_) => Ok(Some(type_)),
            None if caller == Caller::Timer && !is_state(state) => Err(wrong(
                caller,
                state.span(),
                "a timer has no event: keep the values that it needs in the state",
            )),
            None => Err(Error::new(
                state.ty.span(),
                format!(
                    "a handler takes the state by mutable reference: `state: &mut {}`",
                    plain(&state.ty).to_token_stream()
                ),
            )),
        },
        [_, extra, .., context] if is_mutable_context(&context.ty) => {
            let most = match caller {
                Caller::Timer => "a timer's handler takes only its state and `ctx: &mut Context`",
                _ => "a handler takes only one event, its state and `ctx: &mut Context`",
            };
            Err(Error::new(extra.span(), most))
        }
        [.., last] if mutable(&last.ty).is_none() || is_context(&last.ty) => Err(Error::new(
            last.ty.span(),
            "the last parameter of a handler must be `ctx: &mut Context`",
        )),
        _ => Err(Error::new(
            method.sig.paren_token.span.close(),
            "the last parameter of a handler is missing: `ctx: &mut Context`",
        )),
    }
}

fn of_merge<'method>(
    method: &'method ImplItemFn,
    parameters: &[&'method PatType],
) -> Result<Signature<'method>> {
    let error = |span, what: &str| Err(wrong(Caller::Merge, span, what));
    if let Some(context) = parameters.iter().find(|parameter| is_context(&parameter.ty)) {
        return error(
            context.ty.span(),
            "a merge can't send messages: its context is `ctx: &mut MergeContext`",
        );
    }
    match parameters {
        [context] if is_named(&context.ty, MERGE_CONTEXT) => {
            check_merge_context(&context.ty)?;
            Ok(Signature { event: None, state: None, has_context: true })
        }
        [state, other, context @ ..] if context.len() <= 1 => {
            for context in context {
                check_merge_context(&context.ty)?;
            }
            match mutable(&state.ty) {
                None => error(
                    state.ty.span(),
                    "a merge takes the state of the customer who remains by mutable reference: \
                     `state: &mut T`",
                ),
                Some(type_) if same(type_, &other.ty) => Ok(Signature {
                    event: None,
                    state: Some(type_),
                    has_context: !context.is_empty(),
                }),
                Some(_) => error(
                    other.ty.span(),
                    "a merge takes the state of the other customer by value, with the same type",
                ),
            }
        }
        _ => error(
            method.sig.ident.span(),
            "`#[merge]` merges the states, or the timers, of two customers who have become one",
        ),
    }
}

fn check_merge_context(type_: &Type) -> Result<()> {
    if is_named(type_, MERGE_CONTEXT) && mutable(type_).is_some() {
        return Ok(());
    }
    Err(wrong(
        Caller::Merge,
        type_.span(),
        "the last parameter of a merge must be `ctx: &mut MergeContext`, or be left out",
    ))
}

fn check_receiver(caller: Caller, method: &ImplItemFn) -> Result<()> {
    let signature = &method.sig;
    let error = |span: Span, what: &str| Err(wrong(caller, span, what));
    if let Some(asyncness) = signature.asyncness {
        return error(asyncness.span(), "a handler can't be async: it has nothing to wait for");
    }
    if !signature.generics.params.is_empty() {
        return error(signature.generics.span(), "a handler can't be generic");
    }
    match signature.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.mutability.is_none() => Ok(()),
        Some(receiver) => {
            error(receiver.span(), "a handler takes `&self`: the parameters don't change")
        }
        None => error(signature.ident.span(), "this is not a handler: it has no `&self`"),
    }
}

/// An error that says what is wrong and gives the right form.
fn wrong(caller: Caller, span: Span, what: &str) -> Error {
    let form = match caller {
        Caller::Event => {
            "a handler is `fn name(&self, Event { field, .. }: Event, ctx: &mut Context)`; other \
             methods belong in a plain `impl` block"
        }
        Caller::Timer => {
            "a timer's handler is `fn name(&self, ctx: &mut Context)`, or with its state, `fn \
             name(&self, state: &mut T, ctx: &mut Context)`"
        }
        Caller::Merge => {
            "a merge is `fn merge(&self, state: &mut T, other: T, ctx: &mut MergeContext)`, where \
             `T` is the state of the other handlers; the context may be left out; in a rule \
             without state it is `fn merge(&self, ctx: &mut MergeContext)`"
        }
    };
    Error::new(span, format!("{what}\n{form}"))
}

/// Whether two types are written with the same tokens.
pub(crate) fn same(one: &Type, other: &Type) -> bool {
    one.to_token_stream().to_string() == other.to_token_stream().to_string()
}

/// The type `T` of `&mut T`; `None` if it is not a mutable reference.
fn mutable(type_: &Type) -> Option<&Type> {
    match type_ {
        Type::Reference(reference) if reference.mutability.is_some() => Some(&reference.elem),
        _ => None,
    }
}

/// The type `T` of `T` or `&T`.
fn plain(type_: &Type) -> &Type {
    if let Type::Reference(reference) = type_ { &reference.elem } else { type_ }
}

fn is_state(parameter: &PatType) -> bool {
    parameter.pat.to_token_stream().to_string().trim_start_matches("mut ").trim_start_matches('_')
        == "state"
}

const MERGE_CONTEXT: &str = "MergeContext";

fn is_context(type_: &Type) -> bool {
    is_named(type_, "Context")
}

fn is_named(type_: &Type, name: &str) -> bool {
    let Type::Path(path) = plain(type_) else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == name)
}

fn is_mutable_context(type_: &Type) -> bool {
    mutable(type_).is_some() && is_context(type_)
}
