//! Watches event codes. A deployment has events of its own, and the source may add new ones. The
//! campaign file can answer a code with a template, without code. Unexpected codes are logged.
//!
//! `AnyEvent` is every event that no other handler of the rule takes, so this rule is called for
//! all events. It reads only the code, so a call costs next to nothing. If the codes are known when
//! a rule is written, use `#[on("...")]`, so that the rule is not called for other events; see
//! `audience-offer`.

use hailer_sdk::prelude::*;

/// Logs unexpected event codes, and sends a push message for the codes that the campaign names.
#[rule]
pub struct EventWatch {
    /// The event codes (`eventCode`) to answer, each with the template of a push message. Its data
    /// is `code`.
    #[param(default = [])]
    templates: Map<String, String>,
    /// The codes that are expected and need no answer; by default those that the source documents.
    #[param(default = [
        "OnBeginRegistration", "OnEndRegistration", "OnCardReplace", "MergeCustomersProfiles",
        "OnCardActivation", "OnBlockCard", "OnDeleteCard", "OnChangeCategoryCard",
        "OnCustomerAttributeUpdate", "OnCustomerSubscriptionChange", "OnPurchaseConfirm",
        "OnPurchaseRefund",
    ])]
    expected: Vec<String>,
}

#[handlers]
impl EventWatch {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        match self.templates.values().any(String::is_empty) {
            true => Err("a code in `templates` has no template: to expect it without an answer, \
                         put it into `expected`"),
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
            ctx.warn(["an unexpected event code: ", code].concat());
            ctx.note("not sent: an unexpected code; it was logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::Level;
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    /// An event that is not documented.
    fn unknown_event(code: &str) -> Event {
        let body = r#"{"eventCode": "", "customerInfo": {"customerId": 7},
            "more": [1, {"deeper": null}]}"#;
        Event::json(body).set("/eventCode", code)
    }

    fn watch() -> Scenario<EventWatch> {
        let params = r#"{"templates": {"OnBonusesExpireSoon": "bonuses-expire",
            "ДеньРождения": "birthday"}}"#;
        Scenario::with_params(params).unwrap()
    }

    #[test]
    fn a_code_that_the_campaign_names_is_answered() {
        watch()
            .event(unknown_event("OnBonusesExpireSoon"))
            .expect_sent(Push::template("bonuses-expire").data("code", "OnBonusesExpireSoon"))
            .expect_nothing()
            .event(unknown_event("ДеньРождения"))
            .expect_sent(Push::template("birthday").data("code", "ДеньРождения"));
    }

    #[test]
    fn an_unexpected_code_is_logged_and_not_answered() {
        let mut scenario = watch();
        scenario
            .event(unknown_event("OnBonusesExpireSoo"))
            .expect_nothing()
            .expect_note("unexpected code");
        let line = "an unexpected event code: OnBonusesExpireSoo";
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
    fn an_empty_template_is_refused_when_the_campaign_is_loaded() {
        assert!(
            Scenario::<EventWatch>::with_params(r#"{"templates": {"OnBirthday": ""}}"#).is_err()
        );
    }
}
