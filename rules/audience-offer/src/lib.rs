//! An offer for customers who enter a target audience. This is an example of an event that the
//! source does not document.
//!
//! **The code `OnTargetAudienceEntered` and the shape of its body are invented**, to show how to
//! read such an event. `#[on]` names the code, so the engine calls this rule for no other event.
//! The rule searches the body by name. Every value may be missing, and in doubt the rule sends
//! nothing.

use hailer_sdk::prelude::*;

/// Makes an offer to customers who enter a target audience, while the offer is valid.
///
/// The whole body is personal, so a campaign must be granted `body`.
#[rule]
pub struct AudienceOffer {
    /// The audiences (`audience.code`) to write to, each with the template of its e-mail. The
    /// template's data is `discount`, if the event has one, and `valid_until`.
    #[param(default = [("sleeping", "we-miss-you")])]
    templates: Map<String, String>,
    /// The offer is not sent if it ends in fewer hours than this, as the customer could not use it
    /// in time.
    #[param(default = 24)]
    hours_left_min: u32,
}

#[handlers]
impl AudienceOffer {
    #[on("OnTargetAudienceEntered")]
    fn entered(&self, AnyEvent { body, .. }: AnyEvent, ctx: &mut Context) {
        let audience = body.and_then(|body| body.get("audience"));
        let Some(code) = audience.and_then(|audience| audience.get("code")?.as_str()) else {
            return ctx.note("not sent: the event names no audience");
        };
        let Some(template) = self.templates.get(code) else {
            return ctx.note("not sent: no offer for this audience");
        };
        let offer = body.and_then(|body| body.get("offer"));
        let Some(valid_until) = offer.and_then(|offer| offer.get("validUntil")?.as_timestamp())
        else {
            return ctx.note(
                "not sent: the event does not say in a readable way how long the offer is valid",
            );
        };
        if valid_until < ctx.now() + hours(self.hours_left_min) {
            return ctx.note("not sent: the offer ends too soon, or has ended");
        }
        // An absent discount is valid. If a discount is present but unreadable, the e-mail would be
        // wrong.
        let told =
            offer.and_then(|offer| offer.get("discount")).filter(|discount| !discount.is_null());
        let discount = told.and_then(Raw::as_decimal);
        if told.is_some() && discount.is_none() {
            return ctx.note("not sent: the discount cannot be read");
        }
        ctx.send(
            Mail::template(template).data("discount", discount).data("valid_until", valid_until),
        );
        ctx.note("made the audience's offer");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn entered() -> Event {
        Event::json(
            r#"{"eventCode": "OnTargetAudienceEntered", "customerInfo": {"customerId": 7},
                "audience": {"id": 12, "code": "sleeping", "name": "Спящие"},
                "offer": {"discount": 12.50, "validUntil": "2026-01-08T00:00:00Z"}}"#,
        )
    }

    fn offer(discount: Option<Decimal>) -> hailer_sdk::Message<'static> {
        let valid_until: Timestamp = "2026-01-08T00:00:00Z".parse().unwrap();
        Mail::template("we-miss-you").data("discount", discount).data("valid_until", valid_until)
    }

    #[test]
    fn an_audience_with_a_template_gets_its_offer() {
        Scenario::new(AudienceOffer::default())
            .event(entered())
            .expect_sent(offer(Some(dec!(12.5))))
            .expect_nothing();
    }

    #[test]
    fn an_offer_is_made_until_a_day_before_its_end() {
        Scenario::new(AudienceOffer::default())
            .at("2026-01-07T00:00:00Z")
            .event(entered())
            .expect_sent(offer(Some(dec!(12.5))))
            .advance(seconds(1))
            .event(entered())
            .expect_nothing()
            .expect_note("ends too soon");
    }

    #[test]
    fn another_audience_gets_no_message() {
        Scenario::new(AudienceOffer::default())
            .event(entered().set("/audience/code", "Спящие"))
            .expect_nothing()
            .expect_note("no offer for this audience");
    }

    #[test]
    fn a_body_of_another_shape_sends_nothing() {
        let mut scenario = Scenario::new(AudienceOffer::default());
        for audience in [
            "null",
            "[]",
            "7",
            r#""sleeping""#,
            "{}",
            r#"{"code": 7}"#,
            r#"{"code": {"code": "sleeping"}}"#,
        ] {
            scenario
                .event(entered().set_json("/audience", audience))
                .expect_nothing()
                .expect_note("names no audience");
        }
        for offer in
            ["null", "[1, 2]", r#"{"validUntil": "tomorrow"}"#, r#"{"validUntil": 20260108}"#]
        {
            scenario
                .event(entered().set_json("/offer", offer))
                .expect_nothing()
                .expect_note("how long");
        }
    }

    #[test]
    fn an_offer_without_a_discount_is_sent_without_one() {
        Scenario::new(AudienceOffer::default())
            .event(entered().set_json("/offer/discount", "null"))
            .expect_sent(offer(None));
    }

    #[test]
    fn an_offer_with_an_unreadable_discount_is_not_sent() {
        let mut scenario = Scenario::new(AudienceOffer::default());
        for discount in [r#""12,5 %""#, r#""12.5""#, "true", "{}"] {
            scenario
                .event(entered().set_json("/offer/discount", discount))
                .expect_nothing()
                .expect_note("discount cannot be read");
        }
    }

    #[test]
    fn no_other_event_reaches_the_rule() {
        let mut scenario = Scenario::new(AudienceOffer::default());
        for event in ["Purchase", "ProfilesMerged", r#"{"eventCode": "OnTargetAudienceLeft"}"#] {
            scenario.event(event).expect_nothing();
            assert!(scenario.notes().is_empty());
        }
    }
}
