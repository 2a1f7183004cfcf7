//! The macros of the guest SDK: `#[rule]`, `#[handlers]`, and the event types made from the catalogue.
//!
//! A macro is read by its errors: each one here points at the author's own word, says what is wrong, and what to write
//! instead. Nothing is generated that an author could not have written, apart from the module's exports.

mod condition;
mod handler;
mod handlers;
mod naming;
mod param;
mod pattern;
mod rule;
mod signature;
mod state;
mod types;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct a rule: its fields are the rule's parameters.
///
/// The doc comments become the rule's and the parameters' descriptions. The rule's name is the struct's in kebab case, or
/// what `#[rule(name = "big-basket")]` says; its version is the crate's.
///
/// A field may have `#[param(default = ..., min = ..., max = ...)]`. Without a default, each campaign must set it. Bounds
/// are for numbers, and for the length of a text or a list. When every parameter has a default, the rule gets
/// [`Default`], for its tests.
///
/// | type | default |
/// |---|---|
/// | `u8`, `u16`, `u32`, `i32`, `i64` | `default = 60` |
/// | `bool` | `default = true` |
/// | `String` | `default = "welcome"` |
/// | `Decimal` | `default = "100.00"` or `default = 100.00` |
/// | `Vec<String>`, `Vec<Decimal>` | `default = ["a", "b"]` |
/// | `Map<String, String>`, `Map<String, Decimal>` | `default = [("a", "1"), ("b", "2")]` |
#[proc_macro_attribute]
pub fn rule(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as rule::Arguments);
    rule::expand(&arguments, item.into()).into()
}

/// Makes the methods of an `impl` block the rule's handlers.
///
/// Every method in the block is a handler: `fn name(&self, Event { field, .. }: Event, ctx: &mut Context)`. It runs for
/// each event of that type and is handed the fields that its pattern names, and nothing else is read from the event.
/// `_: Event` reads nothing. A field can be renamed (`amount: total`); of a list, the pattern names what is read of each
/// element (`items: [ChequeItem { item_id, amount, .. }]`). A handler returns nothing, or a `Result` whose error can be
/// displayed.
///
/// Between the event and the context a handler may take the rule's state for the customer, `state: &mut Visits`: any type with
/// `#[derive(Default, State)]`, the same in all handlers. It is kept when the handler returns; an `Err` leaves it as it was, and one
/// that equals its default is forgotten.
///
/// `#[timer] fn nudge(&self, ctx: &mut Context)` (with a state in front of the context, if it wants one) is called when the timer
/// `Timer::NUDGE` is due; see `Context::schedule`. `#[merge] fn merge(&self, state: &mut Visits, other: Visits)` unites the states of two
/// customers who have become one.
///
/// `#[when(amount >= self.threshold && brand_id == self.brand)]` on a handler of an event is its condition: the engine asks it, and calls the
/// handler only where it is true. It compares fields that the pattern names, by the names that it gives them, parameters, numbers, texts and
/// `true` and `false` (`==` `!=` `<` `<=` `>` `>=`), and combines that with `&&`, `||` and `!`. What it compares with something absent is
/// unknown, its opposite too, and what is unknown in the end calls nobody; `field.is_some()` and `field.is_none()` ask whether it is absent.
///
/// A field that is there and can't be used (of another type, out of range, no time that can be read) keeps the handler from being called, and a
/// note says why. `#[lenient]` on a handler makes such fields absent for it.
///
/// `#[on("OnSomething", ...)]` on a handler of `AnyEvent` narrows it to these codes. One method may be marked
/// `#[configure]`: `fn check(&self) -> Result<(), String>` refuses parameters that can't work together. Other methods
/// belong in a plain `impl` block.
#[proc_macro_attribute]
pub fn handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let block = parse_macro_input!(item as syn::ItemImpl);
    handlers::expand(&arguments, block).into()
}

/// Makes a type one that a rule can keep as its state, or within it: see `hailer_sdk::State`.
///
/// Members are told by name, so that a later version can add some: a member that is absent has the value that the type's `Default`
/// gives it, and one that is unknown is passed over. `#[state(version = 2)]` raises the version of the shape, 1 unless it is given.
#[proc_macro_derive(State, attributes(state))]
pub fn state(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as syn::DeriveInput);
    state::expand(&input).into()
}

/// The event types of the SDK.
#[doc(hidden)]
#[proc_macro]
pub fn event_types(_: TokenStream) -> TokenStream {
    types::event_types().into()
}
