//! The macros of the guest SDK: `#[rule]`, `#[handlers]`, the event types made from the catalogue,
//! and the channel types.
//!
//! Rule authors meet a macro through its errors. Each error here points at the author's own code,
//! says what is wrong, and says what to write instead. Apart from the module's exports, the
//! generated code is code that an author could have written.

mod channels;
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

/// Makes a struct a rule. Its fields are the rule's parameters.
///
/// The doc comments become the descriptions of the rule and of its parameters. The rule's name is
/// the struct's name in kebab case, or the name in `#[rule(name = "big-basket")]`. Its version is
/// the crate's.
///
/// A field may have `#[param(default = ..., min = ..., max = ...)]`. A campaign must set each
/// parameter that has no default. Bounds apply to numbers, and to the length of a string (in
/// characters) or a list. If every parameter has a default, the macro implements [`Default`] for
/// the rule; tests use it.
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
/// Every method in the block is a handler:
/// `fn name(&self, Event { field, .. }: Event, ctx: &mut Context)`. It runs for each event of that
/// type. It gets only the fields that its pattern names; nothing else is read from the event.
/// `_: Event` reads nothing. `amount: total` renames a field. For a list, the pattern names the
/// fields that are read of each element (`items: [ChequeItem { item_id, amount, .. }]`). A handler
/// returns nothing, or a `Result` whose error implements `Display`.
///
/// Between the event and the context, a handler may take the rule's state for the customer:
/// `state: &mut Visits`. The type has `#[derive(Default, State)]` and is the same in all handlers.
/// The state is stored when the handler returns. If the handler returns an `Err`, the stored state
/// does not change. A state that equals its default is deleted.
///
/// `#[timer] fn nudge(&self, ctx: &mut Context)` is called when the timer `Timer::NUDGE` is due;
/// see `Context::schedule`. It may take the state before the context.
/// `#[merge] fn merge(&self, state: &mut Visits, other: Visits)` merges the states of two customers
/// who have become one.
///
/// `#[when(amount >= self.threshold && brand_id == self.brand)]` on a handler of an event is its
/// condition. The engine calls the handler only if the condition is true. A condition compares
/// (`==` `!=` `<` `<=` `>` `>=`) fields that the pattern names, under the names that the pattern
/// gives them, parameters, numbers, text, `true` and `false`. `&&`, `||` and `!` combine
/// comparisons. A comparison with an absent field is unknown, and so is its negation; an unknown
/// result does not call the handler. `field.is_some()` and `field.is_none()` check whether a field
/// is present.
///
/// A field can be present but unusable: of another type, out of range, or a time in an unknown
/// format. The engine does not call the handler then, and leaves a note with the reason. With
/// `#[lenient]` on the handler, such fields count as absent.
///
/// `#[on("OnSomething", ...)]` restricts a handler of `AnyEvent` to these event codes. One method
/// may be marked `#[configure]`: `fn check(&self) -> Result<(), String>` refuses parameters that do
/// not work together. Other methods belong in a plain `impl` block.
#[proc_macro_attribute]
pub fn handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let block = parse_macro_input!(item as syn::ItemImpl);
    handlers::expand(&arguments, block).into()
}

/// Implements `hailer_sdk::State` for a type, so that a rule can keep it as its state or inside it.
///
/// Members are stored by name, so that a later version of the rule can add members. An absent
/// member has the value that the type's `Default` gives it, and an unknown member is skipped.
/// `#[state(version = 2)]` sets the version of the shape; it is 1 by default.
#[proc_macro_derive(State, attributes(state))]
pub fn state(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as syn::DeriveInput);
    state::expand(&input).into()
}

/// Generates the event types of the SDK.
#[doc(hidden)]
#[proc_macro]
pub fn event_types(_: TokenStream) -> TokenStream {
    types::event_types().into()
}

/// Generates the channel types of the SDK.
#[doc(hidden)]
#[proc_macro]
pub fn channel_types(_: TokenStream) -> TokenStream {
    channels::channel_types().into()
}
