//! A helping hand for people who have begun to register. Most of them finish within minutes and need none, so the
//! message is a short text with a link and a number to call, and not an advertisement.
//!
//! To wait an hour and write only to those who have not finished by then is another campaign, `abandoned-registration`. This one can be
//! kept small: to some applications, or to a share.

use hailer_sdk::prelude::*;

/// Offers help to customers who have begun to register.
#[rule]
pub struct RegistrationHelp {
    /// Only registrations in these applications (`applicationId`); empty for all. Somebody who registers at the till
    /// has a cashier at their side and needs no text message.
    #[param(default = [])]
    applications: Vec<String>,
    /// How many of a hundred customers get the message. Those who don't are the group to compare with.
    #[param(default = 100, min = 1, max = 100)]
    share_percent: u32,
    /// The template of the text message.
    #[param(default = "registration-help", min = 1, max = 128)]
    template: String,
}

/// Sorts customers for `share_percent`. Text of its own, so that the same customers aren't always the ones left out.
const SALT: &str = "registration-help";

#[handlers]
impl RegistrationHelp {
    fn started(&self, RegistrationStarted { application_id, .. }: RegistrationStarted, ctx: &mut Context) {
        if !self.applications.is_empty() && !self.is_chosen(application_id) {
            return ctx.note("not sent: begun in an application that is not listed, or in none");
        }
        if ctx.bucket(SALT) >= self.share_percent {
            return ctx.note("not sent: in the group to compare with");
        }
        ctx.send(Sms::template(&self.template));
        ctx.note("help was offered");
    }
}

impl RegistrationHelp {
    fn is_chosen(&self, application: Option<&str>) -> bool {
        application.is_some_and(|application| self.applications.iter().any(|chosen| chosen == application))
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
    fn whoever_begins_to_register_is_offered_help() {
        Scenario::new(RegistrationHelp::default())
            .event("RegistrationStarted")
            .expect_sent(Sms::template("registration-help"))
            .expect_nothing();
    }

    #[test]
    fn whoever_has_finished_is_left_alone() {
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
    fn an_unknown_application_is_none_of_the_listed() {
        Scenario::new(in_the_app())
            .event("RegistrationStarted")
            .expect_nothing()
            .expect_note("an application that is not listed")
            .event(Event::of("RegistrationStarted").set("application_id", ""))
            .expect_nothing();
    }

    #[test]
    fn the_rest_of_the_customers_are_the_group_to_compare_with() {
        Scenario::new(RegistrationHelp { share_percent: 50, ..RegistrationHelp::default() })
            .in_bucket(SALT, 49)
            .event("RegistrationStarted")
            .expect_sent(Sms::template("registration-help"))
            .in_bucket(SALT, 50)
            .event("RegistrationStarted")
            .expect_nothing()
            .expect_note("group to compare with");
    }

    #[test]
    fn an_event_that_its_sender_repeats_is_decided_the_same() {
        // That it came before is for the engine to find out, which sees every event: a rule that skips by `try_count`
        // would lose the message when the first try never arrived.
        Scenario::new(RegistrationHelp::default())
            .event(Event::of("RegistrationStarted").set("try_count", 3).set("to_error_queue", true))
            .expect_sent(Sms::template("registration-help"));
    }
}
