//! A customer has not come back for sixty days: a friendly word, and after ninety days a better offer. Every purchase begins the
//! count anew, by the calendar of the campaign's time zone, and messages go out at a decent hour.
//!
//! It keeps no state: the two pending timers say all there is to know. A customer who has brought the purchase back has been there,
//! too, so a refund counts like a visit.

use hailer_sdk::prelude::*;

/// Writes to customers who have not come back for sixty days, and again after ninety.
#[rule]
pub struct WinBack {
    /// Days after the last purchase at which the first message goes out.
    #[param(default = 60, min = 1, max = 3650)]
    first_days: u32,
    /// The template of the first e-mail.
    #[param(default = "we-miss-you", min = 1, max = 128)]
    first_template: String,
    /// Days after the last purchase at which the second message goes out.
    #[param(default = 90, min = 2, max = 3650)]
    second_days: u32,
    /// The template of the second e-mail.
    #[param(default = "come-back", min = 1, max = 128)]
    second_template: String,
    /// The hour of the day, in the campaign's time zone.
    #[param(default = 11, max = 23)]
    hour: u8,
}

#[handlers]
impl WinBack {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        if self.first_days < self.second_days { Ok(()) } else { Err("`second_days` must be more than `first_days`") }
    }

    fn bought(&self, _: Purchase, ctx: &mut Context) {
        self.begin(ctx);
    }

    fn refunded(&self, _: PurchaseRefund, ctx: &mut Context) {
        self.begin(ctx);
    }

    #[timer]
    fn first(&self, ctx: &mut Context) {
        ctx.send(Mail::template(&self.first_template));
        ctx.note("missed: the first message");
    }

    #[timer]
    fn second(&self, ctx: &mut Context) {
        ctx.send(Mail::template(&self.second_template));
        ctx.note("missed: the second message");
    }

    /// The last visit of the two counts: its timers are due later.
    #[merge]
    fn merge(&self, ctx: &mut MergeContext) {
        for timer in [Timer::FIRST, Timer::SECOND] {
            let later = ctx.due(timer).max(ctx.other_due(timer));
            ctx.set_timer(timer, later);
        }
    }
}

impl WinBack {
    fn begin(&self, ctx: &mut Context) {
        let hour = u32::from(self.hour);
        ctx.schedule(Timer::FIRST, in_days(self.first_days).at(hour, 0));
        ctx.schedule(Timer::SECOND, in_days(self.second_days).at(hour, 0));
        ctx.note("was here: the count begins anew");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn sixty_and_ninety_days_after_the_last_purchase_there_is_a_message() {
        Scenario::new(WinBack::default())
            .time_zone("Europe/Moscow")
            .at("2026-01-10T20:30:00Z")
            .event("Purchase")
            .expect_nothing()
            // Half past eleven in the evening, Moscow time: sixty days on, at eleven in the morning.
            .at("2026-03-11T07:59:59Z")
            .expect_nothing()
            .advance(seconds(1))
            .expect_sent(Mail::template("we-miss-you"))
            .expect_nothing()
            .at("2026-04-10T07:59:59Z")
            .expect_nothing()
            .advance(seconds(1))
            .expect_sent(Mail::template("come-back"))
            .advance(days(1000))
            .expect_nothing();
    }

    #[test]
    fn a_purchase_begins_the_count_anew() {
        let mut scenario = Scenario::new(WinBack::default());
        for _ in 0..20 {
            scenario.event("Purchase").expect_nothing().advance(days(59)).expect_nothing();
        }
        scenario
            .event("PurchaseRefund")
            .advance(days(60))
            .expect_nothing()
            .advance(hours(11))
            .expect_sent(Mail::template("we-miss-you"))
            .event("Purchase")
            .advance(days(61))
            .expect_sent(Mail::template("we-miss-you"))
            .expect_nothing();
    }

    #[test]
    fn the_hour_stays_the_same_when_clocks_change() {
        Scenario::new(WinBack { first_days: 1, second_days: 2, hour: 11, ..WinBack::default() })
            .time_zone("Europe/Berlin")
            .at("2026-03-28T12:00:00Z")
            .event("Purchase")
            .expect_timer(Timer::FIRST, at("2026-03-29T09:00:00Z".parse().unwrap()))
            .expect_timer(Timer::SECOND, on(2026, 3, 30).at(11, 0));
    }

    #[test]
    fn messages_in_the_wrong_order_are_refused() {
        assert!(Scenario::<WinBack>::with_params(r#"{"first_days": 90}"#).is_err());
        assert!(Scenario::<WinBack>::with_params(r#"{"hour": 24}"#).is_err());
    }

    #[test]
    fn of_two_customers_who_become_one_the_last_purchase_counts_both_ways_and_in_chains() {
        let bought = |customer: i64| Event::of("Purchase").set("customer_id", customer);
        let merged =
            |from: i64, to: i64| Event::of("ProfilesMerged").set("from_customer_id", from).set("to_customer_id", to);
        for merges in [&[(1, 2)][..], &[(2, 1)], &[(1, 2), (2, 3)], &[(2, 1), (1, 3)], &[(3, 2), (2, 1)]] {
            let mut scenario = Scenario::new(WinBack::default());
            scenario.event(bought(1)).at("2026-02-27T12:00:00Z").event(bought(2)).at("2026-03-01T12:00:00Z");
            for (from, to) in merges {
                scenario
                    .event(merged(*from, *to))
                    .expect_timer(Timer::FIRST, on(2026, 4, 28).at(11, 0))
                    .expect_timer(Timer::SECOND, on(2026, 5, 28).at(11, 0));
            }
            scenario
                .at("2026-04-28T10:59:00Z")
                .expect_nothing()
                .at("2026-12-31T00:00:00Z")
                .expect_sent(Mail::template("we-miss-you"))
                .expect_sent(Mail::template("come-back"))
                .expect_nothing();
        }
    }

    #[test]
    fn a_purchase_under_the_old_id_is_that_of_who_remains() {
        Scenario::new(WinBack::default())
            .event(Event::of("Purchase").set("customer_id", 1))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .advance(days(30))
            .event(Event::of("Purchase").set("customer_id", 1))
            .event(Event::of("PurchaseRefund").set("customer_id", 2))
            .advance(days(91))
            .expect_sent(Mail::template("we-miss-you"))
            .expect_sent(Mail::template("come-back"))
            .expect_nothing();
    }
}
