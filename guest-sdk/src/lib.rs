//! Write campaigns for Hailer: rules that decide, event by event, which communications a customer gets.
//!
//! A rule is a struct of parameters and one method for each kind of event. This is a whole one:
//!
//! ```
//! use hailer_sdk::prelude::*;
//!
//! /// Thanks customers whose basket reaches an amount.
//! #[rule]
//! pub struct BigBasket {
//!     /// From this amount on.
//!     #[param(default = "100.00", min = 0)]
//!     threshold: Decimal,
//!     /// The brand whose shops count.
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
//! Every field of the struct is a parameter that a campaign can set; see [`macro@rule`] for their types, defaults and
//! bounds. Two campaigns may run one module with different parameters.
//!
//! # Handlers
//!
//! Every method of the `#[handlers]` block handles the event that its parameter names; see [`events`] for all of them.
//! **The fields named in the pattern are all that is read from an event**, and all that the handler is given:
//!
//! | in the catalogue | in the handler |
//! |---|---|
//! | a field that every such event has | a plain value: `amount: Decimal` |
//! | any other field | an option: `brand_id: Option<&str>` |
//! | text, or an id (a number's digits count as text) | `&str`, borrowed for the call |
//! | an amount | [`Decimal`], exact |
//! | a moment | [`Timestamp`] |
//! | a list, with what is read of its elements | `Vec` of a struct with these fields; empty when absent |
//! | a map, like `position_info` | `Map<&str, Decimal>`; empty when absent |
//! | a subtree whose shape nobody promises | [`Raw`] |
//!
//! `amount: total` renames; `items: lines @ [ChequeItem { amount: price, .. }]` does so for a list and within it. The struct
//! of a list's elements is named after the handler and the record: `PurchaseChequeItem`.
//!
//! An event without a required field that the pattern names does not reach the handler; a note says so. A field that is
//! personal must be granted to the campaign by name.
//!
//! # Conditions
//!
//! `#[when(...)]` on a handler says when it is to be called at all. The engine asks it before the call, so that an event that a campaign does
//! not care for costs it some nanoseconds:
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
//!     /// Whose shops count; empty for all.
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
//! It compares fields that the pattern names, parameters, numbers, texts, `true` and `false`, and combines that with `&&`, `||` and `!`. Whole
//! numbers and decimals are compared by value (`1.50 == 1.5`), texts by their bytes. **What is compared with something absent is unknown, its
//! opposite too, and what is unknown in the end calls nobody**: with `!is_refund` a purchase that does not say whether it is a refund does not
//! count; with `is_refund.is_none() || !is_refund` it does.
//!
//! # What a rule may ask for
//!
//! [`Context`] sends messages, leaves notes and logs. The recipient is always the event's customer. What a rule asks for is a
//! proposal: consent, frequency caps and quiet hours come after it.
//!
//! A rule is a pure function of the event, its parameters and [`Context::now`]. It has no clock, no randomness, no files and
//! no network; [`Context::bucket`] splits customers for an experiment, and [`collections`] has maps whose order is the same
//! in every run.
//!
//! # Testing
//!
//! Rules are unit-tested natively with [`testing::Scenario`]. A module is built with `hailer build`, or
//!
//! ```text
//! cargo rustc --profile guest --target wasm32-unknown-unknown --crate-type cdylib -- \
//!     -C strip=symbols -C link-arg=--compress-relocations -C link-arg=-zstack-size=65536
//! ```
//!
//! A crate holds one rule.

// Generated code speaks of `::hailer_sdk`, in here too.
extern crate self as hailer_sdk;

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

pub use collections::Map;
pub use context::{Context, Level};
pub use decimal::{Decimal, InvalidDecimal};
pub use hailer_macros::{State, handlers, rule};
pub use merge::MergeContext;
pub use message::{ChatBot, Mail, Message, Push, Sms, SocialNetworks, Value, Viber};
pub use raw::Raw;
pub use rule::Rule;
pub use schedule::{Day, Due, TimerId, When, at, every_year_on, in_days, on};
pub use state::State;
pub use time::{Duration, InvalidTimestamp, Timestamp, days, hours, minutes, seconds};

/// What a rule imports: `use hailer_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::events::*;
    pub use crate::{
        ChatBot, Context, Decimal, Duration, Mail, Map, MergeContext, Message, Push, Raw, Rule, Sms, SocialNetworks,
        State, TimerId, Timestamp, Viber, When, at, days, dec, every_year_on, handlers, hours, in_days, minutes, on,
        rule, seconds,
    };
}

/// What generated code uses. Nothing here is for authors.
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

// The README's rule compiles, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
