//! Asks a customer after a refund how it went. A customer who returns goods is about to be lost or
//! won.
//!
//! These messages must not be sent: a question about a carrier bag, a cheerful survey after the
//! return of a television, and a question about "your purchase" if it is unknown which one. **A
//! refund can exceed the purchase that it names**, and several refunds may name one purchase, so
//! the message does not mention a part or a rest of the purchase.

use hailer_sdk::prelude::*;

/// Asks customers who returned goods how it went; after a large refund, a person asks.
#[rule]
pub struct RefundFollowUp {
    /// The smallest amount that gets a message, in the refund's currency.
    #[param(default = "50.00", min = 0)]
    minimum: Decimal,
    /// The e-mail's template. Its data is `amount`, and `purchase`, Loymax's id of the purchase.
    #[param(default = "refund-follow-up", min = 1, max = 128)]
    template: String,
    /// The smallest amount for which the other e-mail is sent, which comes from a person.
    #[param(default = "10000.00", min = 0)]
    care_from: Decimal,
    /// The template of the e-mail from a person, with the same data.
    #[param(default = "refund-care", min = 1, max = 128)]
    care_template: String,
    /// Refunds older than this number of hours get no message. 0: refunds of any age.
    #[param(default = 0)]
    hours_max: u32,
}

#[handlers]
impl RefundFollowUp {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        if self.care_from < self.minimum {
            return Err("`care_from` is below `minimum`: the usual template would never be used");
        }
        Ok(())
    }

    /// The condition requires that the purchase is known, because the message mentions it.
    #[when(refunded_purchase_id.is_some())]
    fn refunded(
        &self,
        PurchaseRefund {
            amount,
            refunded_purchase_id,
            date_time,
            date_time_text,
            ..
        }: PurchaseRefund,
        ctx: &mut Context,
    ) {
        if self.hours_max > 0 {
            match date_time {
                Some(at) if ctx.now().since(at) > hours(self.hours_max) => {
                    return ctx.note("not sent: the refund is too long ago");
                }
                None if date_time_text.is_some() => {
                    return ctx.note("not sent: the refund's time cannot be read");
                }
                _ => {}
            }
        }
        // Some tills give a refund a negative amount; only its size counts.
        let amount = amount.abs();
        if amount < self.minimum {
            return ctx.note("not sent: too small an amount to ask about");
        }
        let is_big = amount >= self.care_from;
        let template = if is_big { &self.care_template } else { &self.template };
        ctx.send(
            Mail::template(template)
                .data("amount", amount.round(2))
                .data("purchase", refunded_purchase_id),
        );
        ctx.note(if is_big {
            "asked by a person: a big refund"
        } else {
            "asked how the refund went"
        });
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
    fn a_refund_gets_a_message_about_its_purchase() {
        Scenario::new(RefundFollowUp::default())
            .event("PurchaseRefund")
            .expect_sent(question("refund-follow-up", dec!(100)))
            .expect_nothing();
    }

    #[test]
    fn a_refund_of_exactly_the_minimum_counts() {
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
    fn a_refund_larger_than_its_purchase_gets_a_message() {
        // The purchase of the example, 512, has an amount of 135.00.
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
    fn a_large_refund_gets_the_e_mail_from_a_person() {
        Scenario::new(RefundFollowUp::default())
            .event(Event::of("PurchaseRefund").set("amount", dec!(9999.9900)))
            .expect_sent(question("refund-follow-up", dec!(9999.99)))
            .event(Event::of("PurchaseRefund").set("amount", 10_000))
            .expect_sent(question("refund-care", dec!(10000)))
            .expect_nothing();
    }

    #[test]
    fn a_refund_of_an_unknown_purchase_gets_no_message() {
        for unknown in
            ["null", "{}", r#"{"refundedPurchaseId": null}"#, r#"{"refundedPurchaseId": ""}"#]
        {
            Scenario::new(RefundFollowUp::default())
                .event(Event::of("PurchaseRefund").set_json("/refundedPurchaseViewModel", unknown))
                .expect_nothing()
                .expect_note("its condition `refunded_purchase_id.is_some()` did not match");
        }
    }

    #[test]
    fn an_old_refund_gets_no_message() {
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
        let error =
            Scenario::<RefundFollowUp>::with_params(r#"{"minimum": "100", "care_from": "99.99"}"#)
                .unwrap_err();
        assert!(error.contains("`care_from` is below `minimum`"));
        assert!(
            Scenario::<RefundFollowUp>::with_params(r#"{"minimum": "100", "care_from": "100"}"#)
                .is_ok()
        );
    }
}
