//! Welcomes new members. The message is sent when the registration is complete, and not when it
//! starts, because some customers do not finish.

use hailer_sdk::prelude::*;

/// Welcomes customers who have completed their registration, through one or several channels. The
/// e-mail has two versions.
///
/// Each channel has a template; an empty one switches the channel off. Consider the effect of
/// several messages within a second before you switch on many. The engine's policies check the
/// customer's consent to a channel; this rule does not.
#[rule]
pub struct Welcome {
    /// The e-mail's template; empty for no e-mail.
    #[param(default = "welcome", max = 128)]
    mail_template: String,
    /// The e-mail's template for group B of the experiment.
    #[param(default = "welcome-b", min = 1, max = 128)]
    mail_template_b: String,
    /// The percentage of customers in group B. 0: there is no experiment.
    #[param(default = 0, max = 100)]
    group_b_percent: u32,
    /// The experiment's name. A customer stays in the same group while the name stays. A new name
    /// splits the customers again, so that the groups of two experiments are independent.
    #[param(default = "welcome-1", min = 1)]
    experiment: String,
    /// The push message's template; empty for none.
    #[param(default = "welcome", max = 128)]
    push_template: String,
    /// The template of the text message, which costs money each time; empty for none.
    #[param(default = "", max = 128)]
    sms_template: String,
}

#[handlers]
impl Welcome {
    /// Refuses a campaign that can send nothing: it is a mistake, and would otherwise go unnoticed
    /// for weeks.
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        if self.mail_template.is_empty()
            && self.push_template.is_empty()
            && self.sms_template.is_empty()
        {
            return Err("every channel is switched off: set `mail_template`, `push_template` or \
                        `sms_template`");
        }
        if self.mail_template.is_empty() && self.group_b_percent > 0 {
            return Err("`group_b_percent` is an experiment with e-mails, which are off: set \
                        `mail_template`");
        }
        Ok(())
    }

    /// `_` names no field, so the rule reads nothing from the event.
    fn completed(&self, _: RegistrationCompleted, ctx: &mut Context) {
        let in_group_b = ctx.bucket(&self.experiment) < self.group_b_percent;
        let (group, mail_template) =
            if in_group_b { ("B", &self.mail_template_b) } else { ("A", &self.mail_template) };
        if !self.mail_template.is_empty() {
            // The data has the group, so that a report can compare the two versions.
            ctx.send(Mail::template(mail_template).data("group", group));
        }
        if !self.push_template.is_empty() {
            ctx.send(Push::template(&self.push_template));
        }
        if !self.sms_template.is_empty() {
            ctx.send(Sms::template(&self.sms_template));
        }
        ctx.note(if in_group_b { "greeted, in group B" } else { "greeted, in group A" });
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn experiment() -> Welcome {
        Welcome { group_b_percent: 20, ..Welcome::default() }
    }

    #[test]
    fn a_new_member_gets_an_e_mail_and_a_push_message() {
        Scenario::new(Welcome::default())
            .event("RegistrationCompleted")
            .expect_sent(Mail::template("welcome").data("group", "A"))
            .expect_sent(Push::template("welcome"))
            .expect_nothing()
            .expect_note("greeted");
    }

    #[test]
    fn the_event_code_of_the_public_api_is_accepted() {
        Scenario::new(Welcome::default())
            .event(Event::of("RegistrationCompleted").set("/eventCode", "OnEndPersonRegistration"))
            .expect_sent(Mail::template("welcome").data("group", "A"));
    }

    #[test]
    fn the_start_of_a_registration_gets_no_message() {
        Scenario::new(Welcome::default()).event("RegistrationStarted").expect_nothing();
    }

    #[test]
    fn a_channel_without_a_template_is_off() {
        let rule = Welcome {
            push_template: String::new(),
            sms_template: "привет".into(),
            ..Welcome::default()
        };
        Scenario::new(rule)
            .event("RegistrationCompleted")
            .expect_sent(Mail::template("welcome").data("group", "A"))
            .expect_sent(Sms::template("привет"))
            .expect_nothing();
    }

    #[test]
    fn group_b_has_the_buckets_below_its_percentage() {
        Scenario::new(experiment())
            .in_bucket("welcome-1", 19)
            .event("RegistrationCompleted")
            .expect_sent(Mail::template("welcome-b").data("group", "B"))
            .in_bucket("welcome-1", 20)
            .event("RegistrationCompleted")
            .expect_sent(Mail::template("welcome").data("group", "A"));
    }

    #[test]
    fn without_an_experiment_all_customers_are_in_group_a() {
        Scenario::new(Welcome::default())
            .in_bucket("welcome-1", 0)
            .event("RegistrationCompleted")
            .expect_sent(Mail::template("welcome").data("group", "A"));
    }

    #[test]
    fn a_customer_with_only_an_id_is_welcomed() {
        let bare = r#"{"eventCode": "OnEndRegistration",
            "customerInfo": {"customerId": 1, "identifierId": null}}"#;
        Scenario::new(Welcome::default())
            .event(bare)
            .expect_sent(Mail::template("welcome").data("group", "A"))
            .expect_sent(Push::template("welcome"));
    }

    #[test]
    fn a_campaign_that_can_send_nothing_is_refused() {
        let silent =
            Scenario::<Welcome>::with_params(r#"{"mail_template": "", "push_template": ""}"#);
        assert!(silent.unwrap_err().contains("every channel is switched off"));
        let pointless =
            Scenario::<Welcome>::with_params(r#"{"mail_template": "", "group_b_percent": 50}"#);
        assert!(pointless.unwrap_err().contains("experiment"));
        assert!(Scenario::<Welcome>::with_params(r#"{"group_b_percent": 101}"#).is_err());
    }
}
