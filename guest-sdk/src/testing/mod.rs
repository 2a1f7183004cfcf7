//! Unit tests for rules: run a rule natively on events, move the clock, and check what it requests.
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
//!     // The source's example event, with an amount of 135.00.
//!     .event("Purchase")
//!     .expect_sent(Push::template("big-basket").data("amount", dec!(135.00)))
//!     .expect_nothing()
//!     .advance(days(1))
//!     .event(Event::of("Purchase").set("amount", dec!(99.99)))
//!     .expect_nothing()
//!     .expect_note("a small basket")
//!     // A message in JSON, as SMC would send it.
//!     .event(
//!         r#"{"eventCode": "OnPurchaseConfirm",
//!             "purchaseOperationInfo": {"purchaseData": {"amount": 1e3}}}"#,
//!     )
//!     .expect_sent(Push::template("big-basket").data("amount", dec!(1000)));
//! ```
//!
//! A scenario keeps each customer's state and pending timers, as the engine does.
//! [`Scenario::advance`] moves the clock and calls each timer that falls due, at its due time.
//! Sixty days pass at once:
//!
//! ```
//! use hailer_sdk::prelude::*;
//! use hailer_sdk::testing::{Event, Scenario};
//!
//! /// Writes to customers who have not come back.
//! #[rule]
//! struct WinBack;
//!
//! #[derive(Debug, Default, State)]
//! struct Visits {
//!     count: u32,
//! }
//!
//! #[handlers]
//! impl WinBack {
//!     fn purchase(&self, _: Purchase, state: &mut Visits, ctx: &mut Context) {
//!         state.count += 1;
//!         ctx.schedule(Timer::MISSED, in_days(60).at(10, 0));
//!     }
//!
//!     #[timer]
//!     fn missed(&self, state: &mut Visits, ctx: &mut Context) {
//!         ctx.send(Mail::template("we-miss-you").data("visits", state.count));
//!     }
//!
//!     #[merge]
//!     fn merge(&self, state: &mut Visits, other: Visits) {
//!         state.count += other.count;
//!     }
//! }
//!
//! Scenario::new(WinBack)
//!     .time_zone("Europe/Moscow")
//!     .event("Purchase")
//!     .event("Purchase")
//!     .expect_state(|visits: &Visits| visits.count == 2)
//!     .expect_timer(Timer::MISSED, in_days(60).at(10, 0))
//!     .advance(days(60))
//!     .expect_nothing()
//!     .advance(hours(7))
//!     .expect_sent(Mail::template("we-miss-you").data("visits", 2))
//!     .expect_no_timer(Timer::MISSED)
//!     // The customer of the example, 107, is merged into customer 108.
//!     .event(Event::of("ProfilesMerged").set("from_customer_id", 107).set("to_customer_id", 108))
//!     .expect_state(|visits: &Visits| visits.count == 2);
//! ```
//!
//! The rule is called with the same bytes as in the engine, so a test also proves that the fields
//! arrive. Only the sandbox is missing, and the engine's policies: consent, caps and quiet hours
//! are applied after the rule.

mod customers;
mod event;
mod json;
mod outcome;
mod params;
mod projection;
mod scenario;

pub use event::{Event, EventValue};
pub use outcome::{Data, Sent};
pub use scenario::Scenario;
