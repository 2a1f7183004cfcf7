//! Write rules for Hailer. A rule decides, event by event, which communications a customer gets.
//!
//! A rule is a struct of parameters, with one method for each kind of event. This is a complete
//! rule:
//!
//! ```
//! use hailer_sdk::prelude::*;
//!
//! /// Thanks customers whose basket reaches an amount.
//! #[rule]
//! pub struct BigBasket {
//!     /// The smallest amount of a purchase that gets a message.
//!     #[param(default = "100.00", min = 0)]
//!     threshold: Decimal,
//!     /// Only purchases in shops of this brand count.
//!     brand: String,
//! }
//!
//! #[handlers]
//! impl BigBasket {
//!     fn purchase(
//!         &self,
//!         Purchase { amount, brand_id, items: [ChequeItem { item_id, .. }], .. }: Purchase,
//!         ctx: &mut Context,
//!     ) {
//!         if brand_id != Some(self.brand.as_str()) {
//!             return ctx.note("another brand");
//!         }
//!         if amount >= self.threshold {
//!             let goods: Vec<_> = items.iter().map(|item| item.item_id).collect();
//!             ctx.send(Push::template("big-basket").data("amount", amount).data("goods", goods));
//!         }
//!     }
//!
//!     fn refund(&self, _: PurchaseRefund, ctx: &mut Context) {
//!         ctx.send(Mail::template("sorry-to-see-it-go"));
//!     }
//! }
//! ```
//!
//! # Parameters
//!
//! Every field of the struct is a parameter that a campaign can set. [`macro@rule`] describes the
//! types, defaults and bounds. Two campaigns may run one module with different parameters.
//!
//! # Handlers
//!
//! Every method of the `#[handlers]` block handles the event that its parameter names. [`events`]
//! lists all events. **A rule reads only the fields that the pattern names**, and the handler gets
//! only these:
//!
//! | in the catalogue | in the handler |
//! |---|---|
//! | a field that every such event has | a plain value: `amount: Decimal` |
//! | any other field | an option: `brand_id: Option<&str>` |
//! | text or an id; numeric ids arrive as digits | `&str`, borrowed for the call |
//! | an amount | [`Decimal`], exact |
//! | a point in time | [`Timestamp`] |
//! | a list | `Vec` of a struct with the named fields; empty if absent |
//! | a map, such as `position_info` | `Map<&str, Decimal>`; empty if absent |
//! | a subtree without a documented shape | [`Raw`] |
//!
//! `amount: total` renames a field. `items: lines @ [ChequeItem { amount: price, .. }]` renames a
//! list and a field of its elements. The struct of a list's elements is named after the handler and
//! the record: `PurchaseChequeItem`.
//!
//! If the pattern names a required field and an event lacks it, the engine does not call the
//! handler and leaves a note. A personal field must be granted to the campaign by name.
//!
//! # Conditions
//!
//! `#[when(...)]` on a handler is a condition for calling it. The engine checks the condition
//! before the call, so an event that does not match costs a few nanoseconds:
//!
//! ```
//! use hailer_sdk::prelude::*;
//! use hailer_sdk::testing::{Event, Scenario};
//!
//! /// Thanks customers for a big basket.
//! #[rule]
//! struct BigBasket {
//!     #[param(default = "100.00")]
//!     threshold: Decimal,
//!     /// Only purchases in shops of this brand count; empty for all brands.
//!     #[param(default = "")]
//!     brand: String,
//! }
//!
//! #[handlers]
//! impl BigBasket {
//!     #[when(amount >= self.threshold && (self.brand == "" || brand_id == self.brand))]
//!     fn purchase(&self, Purchase { amount, brand_id, .. }: Purchase, ctx: &mut Context) {
//!         ctx.send(Push::template("big-basket").data("amount", amount));
//!     }
//! }
//!
//! Scenario::new(BigBasket::default())
//!     .event(Event::of("Purchase").set("amount", 99))
//!     .expect_nothing()
//!     .expect_note("its condition `amount >= 100.00` did not match");
//! ```
//!
//! A condition compares fields that the pattern names, parameters, numbers, text, `true` and
//! `false`. `&&`, `||` and `!` combine comparisons. Whole numbers and decimals are compared by
//! value (`1.50 == 1.5`), text by its bytes. **A comparison with an absent field is unknown, and so
//! is its negation. The engine calls the handler only if the condition is true, not if it is
//! unknown.** With `!is_refund`, a purchase that does not say whether it is a refund does not
//! match. With `is_refund.is_none() || !is_refund` it does.
//!
//! # What a rule may request
//!
//! [`Context`] sends messages, leaves notes and logs. The recipient is always the event's customer.
//! A message is a proposal: the rules for consent, frequency caps and quiet hours are applied after
//! it.
//!
//! A rule is a pure function of the event, its state, its parameters and [`Context::now`]. It has
//! no clock, no randomness, no files and no network. [`Context::bucket`] splits customers for an
//! experiment. [`collections`] has maps whose order is the same in every run.
//!
//! # Testing
//!
//! Unit tests run a rule natively with [`testing::Scenario`]. Build a module with `hailer build`,
//! or with
//!
//! ```text
//! cargo rustc --profile guest --target wasm32-unknown-unknown --crate-type cdylib -- \
//!     -C strip=symbols -C link-arg=--compress-relocations -C link-arg=-zstack-size=65536
//! ```
//!
//! A crate holds one rule.

// Generated code names this crate `::hailer_sdk`, also inside the crate itself.
extern crate self as hailer_sdk;

mod channels;
pub mod collections;
#[doc(hidden)]
pub mod condition;
mod context;
mod decimal;
pub mod events;
#[cfg(any(target_arch = "wasm32", test))]
mod heap;
mod merge;
mod message;
#[doc(hidden)]
pub mod module;
mod raw;
mod rule;
mod schedule;
#[doc(hidden)]
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;
#[doc(hidden)]
pub mod wire;

pub use channels::*;
pub use collections::Map;
pub use context::{Context, Level};
pub use decimal::{Decimal, InvalidDecimal};
pub use hailer_macros::{State, handlers, rule};
pub use merge::MergeContext;
pub use message::{Message, Value};
pub use raw::Raw;
pub use rule::Rule;
pub use schedule::{Day, Due, TimerId, When, at, every_year_on, in_days, on};
pub use state::State;
pub use time::{Duration, InvalidTimestamp, Timestamp, days, hours, minutes, seconds};

/// The names that every rule imports: `use hailer_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::channels::*;
    pub use crate::events::*;
    pub use crate::{
        Context, Decimal, Duration, Map, MergeContext, Message, Raw, Rule, State, TimerId,
        Timestamp, When, at, days, dec, every_year_on, handlers, hours, in_days, minutes, on, rule,
        seconds,
    };
}

/// Names for generated code only. Rule authors do not use them.
#[doc(hidden)]
pub mod generated {
    pub use crate::condition;
    pub use crate::context::{Outcome, finish, finish_with};
    pub use crate::decimal::literal;
    pub use crate::merge::fields as merge_fields;
    pub use crate::rule::{Declared, concat, digits, length};
    pub use crate::schedule::timer;
    pub use crate::state;
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::wire::ToParam;
    pub use crate::wire::{FromParam, FromWire, Reader, Writer, malformed};
}

// Doctests compile the README's rule, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
