//! A watch over event codes. A deployment has events of its own, and one day the source has a new one: the campaign's file can
//! answer it with a template, without a line of code, and what nobody expected is logged the day it comes.
//!
//! `AnyEvent` is every event that no other handler of the rule takes, so this rule is called for all of them; it reads
//! the code only, which costs next to nothing. Where the codes are known when a rule is written, `#[on("...")]` keeps the other
//! events away from it: see `audience-offer`.

use hailer_sdk::prelude::*;

/// Logs event codes that nobody expects, and sends a push message on those that the campaign names.
#[rule]
pub struct EventWatch {
    /// Event codes (`eventCode`) to answer, each with the template of a push message. It is filled with `code`.
    #[param(default = [])]
    templates: Map<String, String>,
    /// Codes that are expected and need no answer: those of the source's table, unless the campaign says otherwise.
    #[param(default = [
        "OnBeginRegistration", "OnEndRegistration", "OnCardReplace", "MergeCustomersProfiles", "OnCardActivation",
        "OnBlockCard", "OnDeleteCard", "OnChangeCategoryCard", "OnCustomerAttributeUpdate",
        "OnCustomerSubscriptionChange", "OnPurchaseConfirm", "OnPurchaseRefund",
    ])]
    expected: Vec<String>,
}

#[handlers]
impl EventWatch {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        match self.templates.values().any(String::is_empty) {
            true => {
                Err("a code in `templates` has no template: to expect it without an answer, put it into `expected`")
            }
            false => Ok(()),
        }
    }

    fn happened(&self, AnyEvent { code, .. }: AnyEvent, ctx: &mut Context) {
        if let Some(template) = self.templates.get(code) {
            ctx.send(Push::template(template).data("code", code));
            ctx.note("answered: the campaign has a template for this code");
        } else if self.expected.iter().any(|expected| expected == code) {
            ctx.note("not sent: an expected code that needs no answer");
        } else {
            ctx.warn(["an event code that nobody expects: ", code].concat());
            ctx.note("not sent: a code that nobody expects; it was logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::Level;
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    /// An event that no table has.
    fn unheard_of(code: &str) -> Event {
        Event::json(r#"{"eventCode": "", "customerInfo": {"customerId": 7}, "more": [1, {"deeper": null}]}"#)
            .set("/eventCode", code)
    }

    fn watch() -> Scenario<EventWatch> {
        let params = r#"{"templates": {"OnBonusesExpireSoon": "bonuses-expire", "ДеньРождения": "birthday"}}"#;
        Scenario::with_params(params).unwrap()
    }

    #[test]
    fn a_code_that_the_campaign_names_is_answered() {
        watch()
            .event(unheard_of("OnBonusesExpireSoon"))
            .expect_sent(Push::template("bonuses-expire").data("code", "OnBonusesExpireSoon"))
            .expect_nothing()
            .event(unheard_of("ДеньРождения"))
            .expect_sent(Push::template("birthday").data("code", "ДеньРождения"));
    }

    #[test]
    fn a_code_that_nobody_expects_is_logged_and_not_answered() {
        let mut scenario = watch();
        scenario.event(unheard_of("OnBonusesExpireSoo")).expect_nothing().expect_note("nobody expects");
        let line = "an event code that nobody expects: OnBonusesExpireSoo";
        assert_eq!(scenario.logs(), [(Level::Warn, line.to_owned())]);
    }

    #[test]
    fn the_events_of_the_source_are_expected() {
        let mut scenario = watch();
        for name in [
            "RegistrationStarted",
            "RegistrationCompleted",
            "CardLinked",
            "ProfilesMerged",
            "CardActivated",
            "CardBlockChanged",
            "CardDeleteChanged",
            "CardCategoryChanged",
            "AttributeUpdated",
            "SubscriptionChanged",
            "Purchase",
            "PurchaseRefund",
        ] {
            scenario.event(name).expect_nothing().expect_note("needs no answer");
            assert!(scenario.logs().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_code_that_is_named_and_expected_is_answered() {
        Scenario::<EventWatch>::with_params(r#"{"templates": {"OnBlockCard": "blocked"}}"#)
            .unwrap()
            .event("CardBlockChanged")
            .expect_sent(Push::template("blocked").data("code", "OnBlockCard"));
    }

    #[test]
    fn a_template_without_a_name_is_refused_before_it_can_fail() {
        assert!(Scenario::<EventWatch>::with_params(r#"{"templates": {"OnBirthday": ""}}"#).is_err());
    }
}
