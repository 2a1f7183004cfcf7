//! Unit tests for rules: run one natively on events, move the clock, and see what it asks for.
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
//! }
//!
//! #[handlers]
//! impl BigBasket {
//!     fn purchase(&self, Purchase { amount, .. }: Purchase, ctx: &mut Context) {
//!         if amount >= self.threshold {
//!             ctx.send(Push::template("big-basket").data("amount", amount));
//!         } else {
//!             ctx.note("a small basket");
//!         }
//!     }
//! }
//!
//! // In a rule crate, this is a `#[test]`.
//! Scenario::new(BigBasket::default())
//!     // The source's own example, of 135.00.
//!     .event("Purchase")
//!     .expect_sent(Push::template("big-basket").data("amount", dec!(135.00)))
//!     .expect_nothing()
//!     .advance(days(1))
//!     .event(Event::of("Purchase").set("amount", dec!(99.99)))
//!     .expect_nothing()
//!     .expect_note("a small basket")
//!     // A message in JSON, as SMC would send it.
//!     .event(r#"{"eventCode": "OnPurchaseConfirm", "purchaseOperationInfo": {"purchaseData": {"amount": 1e3}}}"#)
//!     .expect_sent(Push::template("big-basket").data("amount", dec!(1000)));
//! ```
//!
//! The rule is called through the same bytes as in the engine, so a test also proves that fields arrive. Only the sandbox
//! is missing, and the engine's policies: consent, caps and quiet hours come after the rule.

mod event;
mod json;
mod outcome;
mod params;
mod projection;
mod scenario;

pub use event::{Event, EventValue};
pub use outcome::{Data, Sent};
pub use scenario::Scenario;
