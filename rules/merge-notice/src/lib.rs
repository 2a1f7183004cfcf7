//! Tells the customer of the account that remains that two accounts were merged, before the
//! customer notices changed bonuses.
//!
//! The event has two customers. The recipient is the one who remains; no rule can change that. The
//! message does not contain ids of the other account, as they mean nothing to customers.

use hailer_sdk::prelude::*;

/// Tells customers that two of their accounts have become one.
///
/// It is also a matter of security: a customer who did not ask for the merge must learn of it. So
/// the message is an e-mail, which can be kept.
#[rule]
pub struct MergeNotice {
    /// The e-mail's template.
    #[param(default = "profiles-merged", min = 1, max = 128)]
    template: String,
    /// The template of an additional push message; empty for none.
    #[param(default = "", max = 128)]
    push_template: String,
}

#[handlers]
impl MergeNotice {
    fn merged(
        &self,
        ProfilesMerged { from_customer_id, to_customer_id, .. }: ProfilesMerged,
        ctx: &mut Context,
    ) {
        if to_customer_id.is_none() {
            return ctx.note("not sent: the event does not say which account remains");
        }
        if from_customer_id == to_customer_id {
            return ctx.note("not sent: an account was merged with itself, which changes nothing");
        }
        ctx.send(Mail::template(&self.template));
        if !self.push_template.is_empty() {
            ctx.send(Push::template(&self.push_template));
        }
        ctx.note("sent: two accounts were merged");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn the_account_that_remains_gets_the_message() {
        // The source's example has a trailing comma, which is accepted.
        Scenario::new(MergeNotice::default())
            .event("ProfilesMerged")
            .expect_sent(Mail::template("profiles-merged"))
            .expect_nothing();
    }

    #[test]
    fn a_push_message_is_sent_in_addition_if_it_has_a_template() {
        Scenario::new(MergeNotice {
            push_template: "слияние".into(), ..MergeNotice::default()
        })
        .event("ProfilesMerged")
        .expect_sent(Mail::template("profiles-merged"))
        .expect_sent(Push::template("слияние"))
        .expect_nothing();
    }

    #[test]
    fn an_account_merged_with_itself_gets_no_message() {
        Scenario::new(MergeNotice::default())
            .event(Event::of("ProfilesMerged").set("from_customer_id", 11))
            .expect_nothing()
            .expect_note("with itself")
            // A number and a string are the same id.
            .event(Event::of("ProfilesMerged").set("from_customer_id", "11"))
            .expect_nothing();
    }

    #[test]
    fn a_merge_without_a_remaining_account_gets_no_message() {
        for missing in ["null", "{}", r#"{"customerId": null}"#] {
            Scenario::new(MergeNotice::default())
                .event(Event::of("ProfilesMerged").set_json("/toCustomerInfo", missing))
                .expect_nothing()
                .expect_note("which account remains");
        }
    }

    #[test]
    fn a_merge_of_an_account_without_an_id_gets_a_message() {
        Scenario::new(MergeNotice::default())
            .event(Event::of("ProfilesMerged").set_json("/fromCustomerInfo", "null"))
            .expect_sent(Mail::template("profiles-merged"));
    }
}
