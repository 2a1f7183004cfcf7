//! Asks a customer who has set a phone number to confirm it, by a text message to that number.
//!
//! These messages must not be sent: text messages to all customers after an import, one for a
//! number that was removed, and one for a number that did not change. **The rule sends a message
//! only if the event says that no import made the change.**
//!
//! Attributes depend on the deployment. The source sends this event also when a phone number is
//! confirmed. Find out whether yours sends it when a number is set, when it is confirmed, or both,
//! and name the attribute for the first.

use hailer_sdk::prelude::*;

/// Asks customers to confirm a phone number that they have just set.
///
/// The number is personal. The rule checks that there is a number and that it is new, so the
/// campaign must be granted `old_value` and `new_value`. The message contains no part of the
/// number, as SMC knows where to send a text message.
#[rule]
pub struct ConfirmPhone {
    /// The attributes (`attributeCode`) with a phone number that is not confirmed yet.
    #[param(default = ["Phone"], min = 1)]
    attributes: Vec<String>,
    /// The template of the text message.
    #[param(default = "confirm-phone", min = 1, max = 128)]
    template: String,
    /// Changes older than this number of minutes get no message, as an unexpected code alarms
    /// customers. 0: changes of any age.
    #[param(default = 0)]
    minutes_max: u32,
}

#[handlers]
impl ConfirmPhone {
    fn updated(
        &self,
        AttributeUpdated {
            attribute_code,
            from_batch_operation,
            old_value,
            new_value,
            change_date_time,
            change_date_time_text,
            ..
        }: AttributeUpdated,
        ctx: &mut Context,
    ) {
        if !self.attributes.iter().any(|attribute| attribute == attribute_code) {
            return ctx.note("not sent: another attribute");
        }
        if from_batch_operation != Some(false) {
            return ctx.note("not sent: an import changed it, or may have");
        }
        if new_value.is_none() {
            return ctx.note("not sent: the number was removed");
        }
        if old_value == new_value {
            return ctx.note("not sent: the number is the same as before");
        }
        if self.minutes_max > 0 {
            match change_date_time {
                Some(at) if ctx.now().since(at) > minutes(self.minutes_max) => {
                    return ctx.note("not sent: changed too long ago");
                }
                None if change_date_time_text.is_some() => {
                    return ctx.note("not sent: the time of the change cannot be read");
                }
                _ => {}
            }
        }
        ctx.send(Sms::template(&self.template));
        ctx.note("asked to confirm the number");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn a_new_number_gets_a_message() {
        Scenario::new(ConfirmPhone::default())
            .event("AttributeUpdated")
            .expect_sent(Sms::template("confirm-phone"))
            .expect_nothing()
            .event(Event::of("AttributeUpdated").set("old_value", "79160000000"))
            .expect_sent(Sms::template("confirm-phone"));
    }

    #[test]
    fn a_change_by_an_import_gets_no_message() {
        Scenario::new(ConfirmPhone::default())
            .event(Event::of("AttributeUpdated").set("from_batch_operation", true))
            .expect_nothing()
            .expect_note("an import");
    }

    #[test]
    fn a_change_that_may_be_an_import_gets_no_message() {
        Scenario::new(ConfirmPhone::default())
            .event(Event::of("AttributeUpdated").without("from_batch_operation"))
            .expect_nothing()
            .expect_note("or may have")
            .event(Event::of("AttributeUpdated").set("from_batch_operation", "false"))
            .expect_nothing()
            .expect_note("`from_batch_operation` is present but unusable");
    }

    #[test]
    fn a_removed_number_gets_no_message() {
        for gone in ["null", r#""""#] {
            Scenario::new(ConfirmPhone::default())
                .event(
                    Event::of("AttributeUpdated")
                        .set("old_value", "79540286267")
                        .set_json("new_value", gone),
                )
                .expect_nothing()
                .expect_note("removed");
        }
    }

    #[test]
    fn an_unchanged_number_gets_no_message() {
        Scenario::new(ConfirmPhone::default())
            .event(Event::of("AttributeUpdated").set("old_value", "79540286267"))
            .expect_nothing()
            .expect_note("the same as before");
    }

    #[test]
    fn other_attributes_get_no_message() {
        for code in ["Email", "phone", "Телефон"] {
            Scenario::new(ConfirmPhone::default())
                .event(Event::of("AttributeUpdated").set("attribute_code", code))
                .expect_nothing()
                .expect_note("another attribute");
        }
    }

    #[test]
    fn attributes_may_use_any_script() {
        Scenario::<ConfirmPhone>::with_params(r#"{"attributes": ["Телефон", "WorkPhone"]}"#)
            .unwrap()
            .event(Event::of("AttributeUpdated").set("attribute_code", "Телефон"))
            .expect_sent(Sms::template("confirm-phone"))
            .event("AttributeUpdated")
            .expect_nothing();
        assert!(Scenario::<ConfirmPhone>::with_params(r#"{"attributes": []}"#).is_err());
    }

    #[test]
    fn an_old_change_gets_no_message() {
        Scenario::new(ConfirmPhone { minutes_max: 10, ..ConfirmPhone::default() })
            .at("2021-06-15T09:27:07Z")
            .event("AttributeUpdated")
            .expect_sent(Sms::template("confirm-phone"))
            .advance(seconds(1))
            .event("AttributeUpdated")
            .expect_nothing()
            .expect_note("too long ago")
            .event(Event::of("AttributeUpdated").without("change_date_time"))
            .expect_sent(Sms::template("confirm-phone"))
            .event(Event::of("AttributeUpdated").set("change_date_time_text", "some day"))
            .expect_nothing()
            .expect_note("cannot be read");
    }

    #[test]
    fn the_number_does_not_leave_the_rule() {
        let mut scenario = Scenario::new(ConfirmPhone::default());
        scenario.event("AttributeUpdated");
        let told = format!("{:?} {:?} {:?}", scenario.sent(), scenario.notes(), scenario.logs());
        assert!(!told.contains("79540286267"), "{told}");
    }
}
