//! An offer for customers who enter a target audience: an example of an event that the source's table doesn't have.
//!
//! **The code `OnTargetAudienceEntered` and the shape of its body are made up**, to show how such an event is read: `#[on]` names
//! the codes, so that the engine calls this rule for no other event, and the body is searched by name. A
//! body promises nothing, so every look into it may find nothing, and in doubt nothing is sent.

use hailer_sdk::prelude::*;

/// Makes an offer to customers who enter a target audience, while the offer is valid.
///
/// The body is personal as a whole, so a campaign must be granted `body`.
#[rule]
pub struct AudienceOffer {
    /// The audiences (`audience.code`) to write to, each with the template of its e-mail. It is filled with `discount`, if
    /// the event has one, and with `valid_until`.
    #[param(default = [("sleeping", "we-miss-you")])]
    templates: Map<String, String>,
    /// An offer that ends sooner than this is not made: nobody likes to read of a discount that ends before lunch.
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
        let Some(valid_until) = offer.and_then(|offer| offer.get("validUntil")?.as_timestamp()) else {
            return ctx.note("not sent: the event does not say in a readable way how long the offer is valid");
        };
        if valid_until < ctx.now() + hours(self.hours_left_min) {
            return ctx.note("not sent: the offer ends too soon, or has ended");
        }
        // No discount is one thing, and a discount that can't be read is another: the mail would leave it out.
        let told = offer.and_then(|offer| offer.get("discount")).filter(|discount| !discount.is_null());
        let discount = told.and_then(Raw::as_decimal);
        if told.is_some() && discount.is_none() {
            return ctx.note("not sent: the discount cannot be read");
        }
        ctx.send(Mail::template(template).data("discount", discount).data("valid_until", valid_until));
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
        Scenario::new(AudienceOffer::default()).event(entered()).expect_sent(offer(Some(dec!(12.5)))).expect_nothing();
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
    fn another_audience_is_not_written_to() {
        Scenario::new(AudienceOffer::default())
            .event(entered().set("/audience/code", "Спящие"))
            .expect_nothing()
            .expect_note("no offer for this audience");
    }

    #[test]
    fn a_body_of_another_shape_is_quiet() {
        let mut scenario = Scenario::new(AudienceOffer::default());
        for audience in
            ["null", "[]", "7", r#""sleeping""#, "{}", r#"{"code": 7}"#, r#"{"code": {"code": "sleeping"}}"#]
        {
            scenario.event(entered().set_json("/audience", audience)).expect_nothing().expect_note("names no audience");
        }
        for offer in ["null", "[1, 2]", r#"{"validUntil": "tomorrow"}"#, r#"{"validUntil": 20260108}"#] {
            scenario.event(entered().set_json("/offer", offer)).expect_nothing().expect_note("how long");
        }
    }

    #[test]
    fn an_offer_without_a_discount_has_none_to_fill_in() {
        Scenario::new(AudienceOffer::default())
            .event(entered().set_json("/offer/discount", "null"))
            .expect_sent(offer(None));
    }

    #[test]
    fn a_discount_that_cannot_be_read_is_not_left_out_of_the_offer() {
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
