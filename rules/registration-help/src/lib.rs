//! Offers help to customers who have started to register. Most of them finish within minutes
//! without help, so the message is a short text with a link and a phone number, and not an
//! advertisement.
//!
//! The campaign `abandoned-registration` waits an hour and writes only to customers who have not
//! finished. This campaign can be limited to some applications, or to a share of the customers.

use hailer_sdk::prelude::*;

/// Offers help to customers who have started to register.
#[rule]
pub struct RegistrationHelp {
    /// Only registrations in these applications count (`applicationId`); empty for all. A customer
    /// who registers at the till has a cashier to help and needs no text message.
    #[param(default = [])]
    applications: Vec<String>,
    /// The percentage of customers who get the message. The others are the control group.
    #[param(default = 100, min = 1, max = 100)]
    share_percent: u32,
    /// The template of the text message.
    #[param(default = "registration-help", min = 1, max = 128)]
    template: String,
}

/// The salt of the buckets for `share_percent`. It differs from other salts, so that not always the
/// same customers get no message.
const SALT: &str = "registration-help";

#[handlers]
impl RegistrationHelp {
    fn started(
        &self,
        RegistrationStarted { application_id, .. }: RegistrationStarted,
        ctx: &mut Context,
    ) {
        if !self.applications.is_empty() && !self.is_chosen(application_id) {
            return ctx.note("not sent: begun in an application that is not listed, or in none");
        }
        if ctx.bucket(SALT) >= self.share_percent {
            return ctx.note("not sent: in the control group");
        }
        ctx.send(Sms::template(&self.template));
        ctx.note("help was offered");
    }
}

impl RegistrationHelp {
    fn is_chosen(&self, application: Option<&str>) -> bool {
        application
            .is_some_and(|application| self.applications.iter().any(|chosen| chosen == application))
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn in_the_app() -> RegistrationHelp {
        RegistrationHelp { applications: vec!["1".into()], ..RegistrationHelp::default() }
    }

    #[test]
    fn a_customer_who_starts_to_register_gets_a_message() {
        Scenario::new(RegistrationHelp::default())
            .event("RegistrationStarted")
            .expect_sent(Sms::template("registration-help"))
            .expect_nothing();
    }

    #[test]
    fn a_customer_who_has_finished_gets_no_message() {
        Scenario::new(RegistrationHelp::default()).event("RegistrationCompleted").expect_nothing();
    }

    #[test]
    fn a_number_in_the_event_matches_the_text_in_the_parameters() {
        Scenario::new(in_the_app())
            .event(Event::of("RegistrationStarted").set("application_id", 1))
            .expect_sent(Sms::template("registration-help"))
            .event(Event::of("RegistrationStarted").set("application_id", 11))
            .expect_nothing();
    }

    #[test]
    fn an_unknown_application_is_not_listed() {
        Scenario::new(in_the_app())
            .event("RegistrationStarted")
            .expect_nothing()
            .expect_note("an application that is not listed")
            .event(Event::of("RegistrationStarted").set("application_id", ""))
            .expect_nothing();
    }

    #[test]
    fn the_other_customers_are_the_control_group() {
        Scenario::new(RegistrationHelp { share_percent: 50, ..RegistrationHelp::default() })
            .in_bucket(SALT, 49)
            .event("RegistrationStarted")
            .expect_sent(Sms::template("registration-help"))
            .in_bucket(SALT, 50)
            .event("RegistrationStarted")
            .expect_nothing()
            .expect_note("control group");
    }

    #[test]
    fn an_event_that_the_sender_repeats_gets_the_same_decision() {
        // The engine recognises repeated events. A rule that skips by `try_count` would lose the
        // message if the first try never arrived.
        Scenario::new(RegistrationHelp::default())
            .event(Event::of("RegistrationStarted").set("try_count", 3).set("to_error_queue", true))
            .expect_sent(Sms::template("registration-help"));
    }
}
