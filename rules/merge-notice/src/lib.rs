//! Two accounts have become one: say so to the account that remains, before its owner wonders about the bonuses.
//!
//! The event has two customers. The recipient is the one that remains, which no rule can change; the other account's ids
//! stay out of the message, as they mean nothing to people.

use hailer_sdk::prelude::*;

/// Tells customers that two of their accounts have become one.
///
/// It is also a matter of security: somebody who didn't ask for it must hear of it. So it goes out by e-mail, to be kept.
#[rule]
pub struct MergeNotice {
    /// The e-mail's template.
    #[param(default = "profiles-merged", min = 1, max = 128)]
    template: String,
    /// The template of a push message besides; empty for none.
    #[param(default = "", max = 128)]
    push_template: String,
}

#[handlers]
impl MergeNotice {
    fn merged(&self, ProfilesMerged { from_customer_id, to_customer_id, .. }: ProfilesMerged, ctx: &mut Context) {
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
        ctx.note("told of the merge");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn the_account_that_remains_is_told() {
        // The source's example has a comma too many at its end, which is forgiven.
        Scenario::new(MergeNotice::default())
            .event("ProfilesMerged")
            .expect_sent(Mail::template("profiles-merged"))
            .expect_nothing();
    }

    #[test]
    fn a_push_message_comes_besides_where_it_is_wanted() {
        Scenario::new(MergeNotice { push_template: "слияние".into(), ..MergeNotice::default() })
            .event("ProfilesMerged")
            .expect_sent(Mail::template("profiles-merged"))
            .expect_sent(Push::template("слияние"))
            .expect_nothing();
    }

    #[test]
    fn an_account_merged_with_itself_is_no_news() {
        Scenario::new(MergeNotice::default())
            .event(Event::of("ProfilesMerged").set("from_customer_id", 11))
            .expect_nothing()
            .expect_note("with itself")
            // A number and a text are one id.
            .event(Event::of("ProfilesMerged").set("from_customer_id", "11"))
            .expect_nothing();
    }

    #[test]
    fn a_merge_into_nobody_is_not_told() {
        for nobody in ["null", "{}", r#"{"customerId": null}"#] {
            Scenario::new(MergeNotice::default())
                .event(Event::of("ProfilesMerged").set_json("/toCustomerInfo", nobody))
                .expect_nothing()
                .expect_note("which account remains");
        }
    }

    #[test]
    fn an_account_without_an_id_can_be_merged_away() {
        Scenario::new(MergeNotice::default())
            .event(Event::of("ProfilesMerged").set_json("/fromCustomerInfo", "null"))
            .expect_sent(Mail::template("profiles-merged"));
    }
}
