//! A question after a refund: did it go well? Somebody who brings goods back is about to be lost or won.
//!
//! What would embarrass: asking about a carrier bag, asking with a cheerful survey somebody who brought back a television,
//! and asking about "your purchase" when it isn't known which. And the amounts: **a refund can exceed the purchase it names**
//! and several may name one, so nothing here speaks of a part or a rest of the purchase.

use hailer_sdk::prelude::*;

/// Asks customers who brought something back how it went; after a big refund, a person asks.
#[rule]
pub struct RefundFollowUp {
    /// From this amount on, in the refund's currency.
    #[param(default = "50.00", min = 0)]
    minimum: Decimal,
    /// The e-mail's template. It is filled with `amount` and with `purchase`, Loymax's id of the purchase.
    #[param(default = "refund-follow-up", min = 1, max = 128)]
    template: String,
    /// From this amount on, the e-mail comes from a person instead.
    #[param(default = "10000.00", min = 0)]
    care_from: Decimal,
    /// The template of that e-mail, filled the same.
    #[param(default = "refund-care", min = 1, max = 128)]
    care_template: String,
    /// Refunds older than this are not asked about any more. 0: of any age.
    #[param(default = 0)]
    hours_max: u32,
}

#[handlers]
impl RefundFollowUp {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        if self.care_from < self.minimum {
            return Err("`care_from` is below `minimum`: nobody would get the usual template");
        }
        Ok(())
    }

    /// About "your purchase" nobody is asked when it isn't known which.
    #[when(refunded_purchase_id.is_some())]
    fn refunded(
        &self,
        PurchaseRefund { amount, refunded_purchase_id, date_time, date_time_text, .. }: PurchaseRefund,
        ctx: &mut Context,
    ) {
        if self.hours_max > 0 {
            match date_time {
                Some(at) if ctx.now().since(at) > hours(self.hours_max) => {
                    return ctx.note("not sent: the refund is too long ago");
                }
                None if date_time_text.is_some() => return ctx.note("not sent: the refund's time cannot be read"),
                _ => {}
            }
        }
        // Tills differ in the sign they give a refund; how much it is does not depend on it.
        let amount = amount.abs();
        if amount < self.minimum {
            return ctx.note("not sent: too small an amount to ask about");
        }
        let is_big = amount >= self.care_from;
        let template = if is_big { &self.care_template } else { &self.template };
        ctx.send(Mail::template(template).data("amount", amount.round(2)).data("purchase", refunded_purchase_id));
        ctx.note(if is_big { "asked by a person: a big refund" } else { "asked how the refund went" });
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn question(template: &str, amount: Decimal) -> hailer_sdk::Message<'_> {
        Mail::template(template).data("amount", amount).data("purchase", "512")
    }

    #[test]
    fn a_refund_is_followed_by_a_question_about_its_purchase() {
        Scenario::new(RefundFollowUp::default())
            .event("PurchaseRefund")
            .expect_sent(question("refund-follow-up", dec!(100)))
            .expect_nothing();
    }

    #[test]
    fn the_smallest_amount_that_counts_is_the_minimum_itself() {
        Scenario::new(RefundFollowUp::default())
            .event(Event::of("PurchaseRefund").set("amount", dec!(50.0000)))
            .expect_sent(question("refund-follow-up", dec!(50)))
            .event(Event::of("PurchaseRefund").set("amount", dec!(49.9999)))
            .expect_nothing()
            .expect_note("too small")
            .event(Event::of("PurchaseRefund").set("amount", 0))
            .expect_nothing();
    }

    #[test]
    fn a_refund_larger_than_its_purchase_is_followed_up_like_any_other() {
        // The purchase of the examples, 512, was of 135.00.
        Scenario::new(RefundFollowUp::default())
            .event("Purchase")
            .expect_nothing()
            .event(Event::of("PurchaseRefund").set("amount", dec!(135.0100)))
            .expect_sent(question("refund-follow-up", dec!(135.01)));
    }

    #[test]
    fn the_sign_of_the_amount_does_not_matter() {
        Scenario::new(RefundFollowUp::default())
            .event(Event::of("PurchaseRefund").set("amount", dec!(-100.0000)))
            .expect_sent(question("refund-follow-up", dec!(100)));
    }

    #[test]
    fn after_a_big_refund_a_person_asks() {
        Scenario::new(RefundFollowUp::default())
            .event(Event::of("PurchaseRefund").set("amount", dec!(9999.9900)))
            .expect_sent(question("refund-follow-up", dec!(9999.99)))
            .event(Event::of("PurchaseRefund").set("amount", 10_000))
            .expect_sent(question("refund-care", dec!(10000)))
            .expect_nothing();
    }

    #[test]
    fn a_refund_of_no_known_purchase_is_not_asked_about() {
        for unknown in ["null", "{}", r#"{"refundedPurchaseId": null}"#, r#"{"refundedPurchaseId": ""}"#] {
            Scenario::new(RefundFollowUp::default())
                .event(Event::of("PurchaseRefund").set_json("/refundedPurchaseViewModel", unknown))
                .expect_nothing()
                .expect_note("its condition `refunded_purchase_id.is_some()` did not match");
        }
    }

    #[test]
    fn an_old_refund_is_not_asked_about() {
        Scenario::new(RefundFollowUp { hours_max: 72, ..RefundFollowUp::default() })
            .at("2021-08-16T16:53:47Z")
            .event("PurchaseRefund")
            .expect_sent(question("refund-follow-up", dec!(100)))
            .advance(seconds(1))
            .event("PurchaseRefund")
            .expect_nothing()
            .expect_note("too long ago")
            .event(Event::of("PurchaseRefund").without("date_time"))
            .expect_sent(question("refund-follow-up", dec!(100)))
            .event(Event::of("PurchaseRefund").set("date_time_text", "last week"))
            .expect_nothing()
            .expect_note("cannot be read");
    }

    #[test]
    fn thresholds_that_contradict_each_other_are_refused() {
        let error = Scenario::<RefundFollowUp>::with_params(r#"{"minimum": "100", "care_from": "99.99"}"#).unwrap_err();
        assert!(error.contains("`care_from` is below `minimum`"));
        assert!(Scenario::<RefundFollowUp>::with_params(r#"{"minimum": "100", "care_from": "100"}"#).is_ok());
    }
}
