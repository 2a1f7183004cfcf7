//! Every form of a merge, and the timers that a merge does not name.
#![deny(warnings)]

use hailer_sdk::prelude::*;
use hailer_sdk::testing::{Event, Scenario};

fn of(event: &str, customer: i64) -> Event {
    Event::of(event).set("customer_id", customer)
}

fn merged(from: i64, to: i64) -> Event {
    Event::of("ProfilesMerged").set("from_customer_id", from).set("to_customer_id", to)
}

mod without_a_merge {
    use super::*;

    #[derive(Debug, Default, State)]
    pub struct Seen {
        pub count: u32,
    }

    #[rule]
    pub struct Plain;

    #[handlers]
    impl Plain {
        fn bought(&self, _: Purchase, state: &mut Seen, ctx: &mut Context) {
            state.count += 1;
            ctx.schedule(Timer::LATER, days(10));
        }

        fn refunded(&self, _: PurchaseRefund, ctx: &mut Context) {
            ctx.cancel(Timer::LATER);
        }

        #[timer]
        fn later(&self, _state: &mut Seen, ctx: &mut Context) {
            ctx.note("later");
        }
    }

    /// State and timers are both those of one customer.
    pub fn test() {
        Scenario::new(Plain)
            .event(of("Purchase", 1))
            .advance(days(1))
            .event(of("Purchase", 2))
            .event(of("Purchase", 2))
            .event(merged(1, 2))
            .expect_state(|seen: &Seen| seen.count == 2)
            .expect_timer(Timer::LATER, days(10))
            .event(merged(2, 3))
            .expect_state(|seen: &Seen| seen.count == 2)
            .expect_timer(Timer::LATER, days(10))
            // The first id refers to the last customer.
            .event(of("PurchaseRefund", 1))
            .expect_state(|seen: &Seen| seen.count == 2)
            .expect_no_timer(Timer::LATER)
            // The remaining customer has a state, so the other customer's timer is dropped.
            .event(of("Purchase", 4))
            .event(merged(4, 3))
            .expect_state(|seen: &Seen| seen.count == 2)
            .expect_no_timer(Timer::LATER);
    }

    /// A late or repeated merge does not restore the customer who was merged away.
    pub fn late() {
        for merges in [&[(1, 2), (2, 3), (1, 2)][..], &[(2, 3), (1, 2)], &[(1, 2), (2, 3), (2, 3), (1, 2)]] {
            let mut scenario = Scenario::new(Plain);
            scenario.event(of("Purchase", 1));
            for (from, to) in merges {
                scenario.event(merged(*from, *to)).event(of("Purchase", 2));
            }
            let last = if merges[0] == (2, 3) { merges.len() as u32 } else { 1 + merges.len() as u32 };
            for customer in [1, 2, 3] {
                scenario
                    .event(of("CardLinked", customer))
                    .expect_state(move |seen: &Seen| seen.count == last)
                    .expect_timer(Timer::LATER, days(10));
            }
        }
        // Only a merge that reverses an earlier one restores its customer.
        Scenario::new(Plain)
            .event(of("Purchase", 1))
            .event(merged(1, 2))
            .event(merged(2, 1))
            .event(merged(1, 4))
            .event(of("CardLinked", 4))
            .expect_state(|seen: &Seen| seen.count == 1)
            .event(of("Purchase", 2))
            .event(of("CardLinked", 4))
            .expect_state(|seen: &Seen| seen.count == 2);
    }
}

mod of_timers {
    use super::*;

    #[rule]
    pub struct Stateless;

    #[handlers]
    impl Stateless {
        fn bought(&self, _: Purchase, ctx: &mut Context) {
            ctx.schedule(Timer::ONE, days(1));
            ctx.schedule(Timer::TWO, days(2));
            ctx.schedule(Timer::THREE, days(3));
        }

        fn linked(&self, _: CardLinked, ctx: &mut Context) {
            ctx.cancel(Timer::THREE);
        }

        #[timer]
        fn one(&self, _ctx: &mut Context) {}

        #[timer]
        fn two(&self, _ctx: &mut Context) {}

        #[timer]
        fn three(&self, _ctx: &mut Context) {}

        #[merge]
        fn merge(&self, ctx: &mut MergeContext) {
            ctx.set_timer(Timer::ONE, ctx.due(Timer::ONE).max(ctx.other_due(Timer::ONE)));
            ctx.cancel(Timer::TWO);
            let _ = (ctx.now(), ctx.bucket("salt"));
            ctx.note("two are one");
        }
    }

    pub fn test() {
        Scenario::new(Stateless)
            .event(of("Purchase", 1))
            .advance(hours(1))
            .event(of("Purchase", 2))
            .event(of("CardLinked", 2))
            .advance(hours(1))
            .event(merged(2, 1))
            .expect_note("two are one")
            .expect_timer(Timer::ONE, hours(23))
            .expect_no_timer(Timer::TWO)
            // The merge does not name this timer, so that of the customer who remains is kept.
            .expect_timer(Timer::THREE, hours(70))
            .event(merged(1, 2))
            .expect_timer(Timer::ONE, hours(23))
            .expect_timer(Timer::THREE, hours(70))
            // The customer who is merged away has no timer, so the rule is not called.
            .event(merged(5, 2))
            .expect_timer(Timer::THREE, hours(70));
    }
}

fn main() {
    without_a_merge::test();
    without_a_merge::late();
    of_timers::test();
}
