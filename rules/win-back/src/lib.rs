//! Writes to a customer who has not come back for sixty days, and makes a better offer after
//! ninety. Every purchase starts the count again, by the calendar of the campaign's time zone.
//! Messages are sent at a suitable hour.
//!
//! The rule has no state: the two pending timers contain everything. A customer who returns a
//! purchase has been in the shop, too, so a refund counts as a visit.

use hailer_sdk::prelude::*;

/// Writes to customers who have not come back for sixty days, and again after ninety.
#[rule]
pub struct WinBack {
    /// The number of days after the last purchase at which the first message is sent.
    #[param(default = 60, min = 1, max = 3650)]
    first_days: u32,
    /// The template of the first e-mail.
    #[param(default = "we-miss-you", min = 1, max = 128)]
    first_template: String,
    /// The number of days after the last purchase at which the second message is sent.
    #[param(default = 90, min = 2, max = 3650)]
    second_days: u32,
    /// The template of the second e-mail.
    #[param(default = "come-back", min = 1, max = 128)]
    second_template: String,
    /// The hour of the messages, in the campaign's time zone.
    #[param(default = 11, max = 23)]
    hour: u8,
}

#[handlers]
impl WinBack {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        if self.first_days < self.second_days {
            Ok(())
        } else {
            Err("`second_days` must be more than `first_days`")
        }
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
        ctx.note("sent: the first message");
    }

    #[timer]
    fn second(&self, ctx: &mut Context) {
        ctx.send(Mail::template(&self.second_template));
        ctx.note("sent: the second message");
    }

    /// The later visit of the two customers counts: its timers are due later.
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
        ctx.note("a visit: the count starts again");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn a_message_is_sent_sixty_and_ninety_days_after_the_last_purchase() {
        Scenario::new(WinBack::default())
            .time_zone("Europe/Moscow")
            .at("2026-01-10T20:30:00Z")
            .event("Purchase")
            .expect_nothing()
            // The purchase is at half past eleven in the evening in Moscow, so the message is due
            // sixty days later at eleven in the morning.
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
    fn a_purchase_starts_the_count_again() {
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
    fn after_merges_the_last_purchase_of_all_customers_counts() {
        let bought = |customer: i64| Event::of("Purchase").set("customer_id", customer);
        let merged = |from: i64, to: i64| {
            Event::of("ProfilesMerged").set("from_customer_id", from).set("to_customer_id", to)
        };
        for merges in
            [&[(1, 2)][..], &[(2, 1)], &[(1, 2), (2, 3)], &[(2, 1), (1, 3)], &[(3, 2), (2, 1)]]
        {
            let mut scenario = Scenario::new(WinBack::default());
            scenario
                .event(bought(1))
                .at("2026-02-27T12:00:00Z")
                .event(bought(2))
                .at("2026-03-01T12:00:00Z");
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
    fn a_purchase_with_the_old_id_counts_for_the_customer_who_remains() {
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
