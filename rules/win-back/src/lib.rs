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
    #[param(default = "we-miss-you", min = 1)]
    first_template: String,
    /// Days after the last purchase at which the second message goes out.
    #[param(default = 90, min = 2, max = 3650)]
    second_days: u32,
    /// The template of the second e-mail.
    #[param(default = "come-back", min = 1)]
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
    use hailer_sdk::testing::Scenario;

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
}
