//! Every type that a state may have, and every form of a timer.
#![deny(warnings)]

use std::collections::BTreeMap;

use hailer_sdk::prelude::*;
use hailer_sdk::testing::{Event, Scenario};

#[derive(Clone, Debug, Default, PartialEq, State)]
enum Stage {
    #[default]
    New,
    Known {
        since: Option<Timestamp>,
    },
    Lost(String),
}

#[derive(Debug, Default, PartialEq, State)]
#[state(version = 3)]
struct Kept {
    stage: Stage,
    count: u32,
    by_brand: BTreeMap<String, Decimal>,
    r#type: String,
}

/// Counts purchases.
#[rule]
struct Remembering;

const YEARLY: When = every_year_on(2, 29).at(10, 0);

#[handlers]
impl Remembering {
    fn bought(
        &self,
        Purchase { amount, brand_id, .. }: Purchase,
        state: &mut Kept,
        ctx: &mut Context,
    ) -> Result<(), &'static str> {
        state.count += 1;
        *state.by_brand.entry(brand_id.unwrap_or_default().to_owned()).or_default() += amount;
        state.stage = Stage::Known { since: Some(ctx.now()) };
        ctx.schedule(Timer::SOON, minutes(5));
        ctx.schedule(Timer::YEARLY, YEARLY);
        if amount.is_zero() { Err("a purchase of nothing") } else { Ok(()) }
    }

    fn refunded(&self, _: PurchaseRefund, state: &mut Kept, ctx: &mut Context) {
        *state = Kept::default();
        ctx.cancel(Timer::SOON);
        ctx.cancel(Timer::YEARLY);
    }

    fn linked(&self, _: CardLinked, ctx: &mut Context) {
        ctx.schedule(Timer::SOON, at(ctx.now()));
        ctx.schedule(Timer::SOON, ctx.now() + days(1));
        ctx.schedule(Timer::SOON, on(2026, 12, 31).at(23, 59));
        ctx.schedule(Timer::SOON, in_days(0).at(0, 0));
    }

    #[timer]
    fn soon(&self, ctx: &mut Context) {
        ctx.note("soon");
    }

    #[timer]
    fn yearly(&self, state: &mut Kept, ctx: &mut Context) {
        state.stage = Stage::Lost("long ago".into());
        ctx.schedule(Timer::YEARLY, YEARLY);
    }

    #[merge]
    fn merge(&self, state: &mut Kept, other: Kept, ctx: &mut MergeContext) -> Result<(), String> {
        state.count += other.count;
        ctx.note("merged");
        Ok(())
    }
}

fn main() {
    let mut scenario = Scenario::new(Remembering);
    assert!(scenario.manifest().ends_with(r#""stateVersion":3,"merges":2}"#));
    assert!(scenario.manifest().contains(r#"{"name":"soon","timer":"soon","fields":[]}"#));
    assert!(scenario.manifest().contains(r#"{"name":"merge","merge":true,"fields":[]}"#));
    scenario
        .event("Purchase")
        .expect_state(|kept: &Kept| kept.count == 1)
        .expect_timer(Timer::SOON, minutes(5))
        .expect_timer(Timer::YEARLY, on(2026, 2, 28).at(10, 0))
        .advance(minutes(5))
        .expect_note("soon")
        .expect_no_timer(Timer::SOON)
        // After an error, state and timers are unchanged.
        .event(Event::of("Purchase").set("amount", 0))
        .expect_error("a purchase of nothing")
        .expect_no_timer(Timer::SOON)
        .expect_state(|kept: &Kept| kept.count == 1)
        // The last of four requests counts; its due time is in the past, so the timer fires at
        // once.
        .event(Event::of("CardLinked").set("/customerInfo/customerId", 107))
        .expect_note("soon")
        .at("2030-01-01T00:00:00Z")
        .expect_state(|kept: &Kept| kept.stage == Stage::Lost("long ago".into()))
        .expect_timer(Timer::YEARLY, on(2030, 2, 28).at(10, 0))
        .advance(hours(1))
        .event(Event::of("Purchase").set("/customerInfo/customerId", 8))
        .advance(minutes(1))
        .event("Purchase")
        .event(Event::of("ProfilesMerged").set("from_customer_id", 107).set("to_customer_id", 8))
        .expect_state(|kept: &Kept| kept.count == 3)
        .expect_note("merged")
        // Both customers had the timer pending, and that of the customer who remains is kept.
        .expect_timer(Timer::SOON, minutes(4))
        .event(Event::of("ProfilesMerged").set("from_customer_id", 8).set("to_customer_id", 9))
        .expect_timer(Timer::SOON, minutes(4))
        .event(Event::of("ProfilesMerged").set("from_customer_id", 9).set("to_customer_id", 8))
        .event(Event::of("PurchaseRefund").set("/customerInfo/customerId", 8))
        .expect_state(|kept: &Kept| *kept == Kept::default())
        .expect_no_timer(Timer::YEARLY);
}
