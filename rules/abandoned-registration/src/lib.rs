//! A customer starts to register and does not finish. An hour later the rule sends a reminder,
//! unless the customer has finished by then.
//!
//! A new start begins the hour again. A completed registration cancels the reminder. If the engine
//! was down and the reminder is long overdue, it is not sent.

use hailer_sdk::prelude::*;

/// Reminds customers who start to register and do not finish.
#[rule]
pub struct AbandonedRegistration {
    /// Minutes to wait before the reminder.
    #[param(default = 60, min = 1, max = 43200)]
    wait_minutes: u32,
    /// The template of the text message.
    #[param(default = "registration-nudge", min = 1, max = 128)]
    template: String,
    /// A reminder that is overdue by more than this number of hours is not sent. 0: always send it.
    #[param(default = 24)]
    late_hours_max: u32,
}

/// The state during a registration.
#[derive(Debug, Default, State)]
struct Begun {
    /// The time of the start; `None` if the registration is complete.
    at: Option<Timestamp>,
}

#[handlers]
impl AbandonedRegistration {
    fn started(&self, _: RegistrationStarted, state: &mut Begun, ctx: &mut Context) {
        state.at = Some(ctx.now());
        ctx.schedule(Timer::NUDGE, minutes(self.wait_minutes));
        ctx.note("waits for the registration to be completed");
    }

    fn completed(&self, _: RegistrationCompleted, state: &mut Begun, ctx: &mut Context) {
        *state = Begun::default();
        ctx.cancel(Timer::NUDGE);
        ctx.note("completed: no nudge");
    }

    #[timer]
    fn nudge(&self, state: &mut Begun, ctx: &mut Context) {
        let Some(begun) = state.at.take() else {
            return ctx.note("not sent: completed meanwhile");
        };
        let late = ctx.now().since(begun + minutes(self.wait_minutes));
        if self.late_hours_max > 0 && late > hours(self.late_hours_max) {
            return ctx.note("not sent: too late for a nudge");
        }
        ctx.send(Sms::template(&self.template));
        ctx.note("nudged");
    }

    /// The later registration counts, with its timer.
    #[merge]
    fn merge(&self, state: &mut Begun, other: Begun, ctx: &mut MergeContext) {
        let mut due = ctx.due(Timer::NUDGE);
        if other.at > state.at {
            *state = other;
            due = ctx.other_due(Timer::NUDGE);
        }
        ctx.set_timer(Timer::NUDGE, due);
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn nudge() -> hailer_sdk::Message<'static> {
        Sms::template("registration-nudge")
    }

    #[test]
    fn a_customer_who_does_not_finish_gets_one_reminder_after_an_hour() {
        Scenario::new(AbandonedRegistration::default())
            .event("RegistrationStarted")
            .expect_nothing()
            .expect_timer(Timer::NUDGE, minutes(60))
            .advance(minutes(59))
            .expect_nothing()
            .advance(minutes(1))
            .expect_sent(nudge())
            .expect_state(|begun: &Begun| begun.at.is_none())
            .advance(days(60))
            .expect_nothing();
    }

    #[test]
    fn a_customer_who_finishes_gets_no_reminder() {
        Scenario::new(AbandonedRegistration::default())
            .event("RegistrationStarted")
            .advance(minutes(59))
            .event("RegistrationCompleted")
            .expect_no_timer(Timer::NUDGE)
            .expect_note("completed")
            .advance(days(1))
            .expect_nothing();
    }

    #[test]
    fn a_new_start_begins_the_waiting_time_again() {
        Scenario::new(AbandonedRegistration {
            wait_minutes: 30,
            ..AbandonedRegistration::default()
        })
        .event("RegistrationStarted")
        .advance(minutes(29))
        .event("RegistrationStarted")
        .expect_timer(Timer::NUDGE, minutes(30))
        .advance(minutes(29))
        .expect_nothing()
        .advance(minutes(1))
        .expect_sent(nudge())
        .expect_nothing();
    }

    #[test]
    fn a_completion_without_a_start_sends_nothing() {
        Scenario::new(AbandonedRegistration::default())
            .event("RegistrationCompleted")
            .expect_nothing()
            .advance(days(2))
            .expect_nothing();
    }

    #[test]
    fn registrations_of_two_customers_are_independent() {
        let of =
            |event: &str, customer: i64| Event::of(event).set("/customerInfo/customerId", customer);
        Scenario::new(AbandonedRegistration::default())
            .event(of("RegistrationStarted", 1))
            .event(of("RegistrationStarted", 2))
            .event(of("RegistrationCompleted", 1))
            .advance(hours(1))
            .expect_sent(nudge())
            .expect_nothing();
    }

    #[test]
    fn a_merge_moves_the_registration_to_the_customer_who_remains() {
        let of =
            |event: &str, customer: i64| Event::of(event).set("/customerInfo/customerId", customer);
        Scenario::new(AbandonedRegistration::default())
            .event(of("RegistrationStarted", 1))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .expect_timer(Timer::NUDGE, minutes(60))
            .event(of("RegistrationCompleted", 2))
            .advance(hours(1))
            .expect_nothing();
    }
}
