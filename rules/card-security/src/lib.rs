//! Tells the owner of a card at once when it is blocked, unblocked, deleted, restored or replaced,
//! because another person may have done it. An *added* card is good news, which the campaign
//! `card-linked` handles.
//!
//! Card numbers are personal, so a campaign must be granted them by name. Even then, only the last
//! four digits leave the rule. They are enough to distinguish two cards, and useless to a person
//! who reads over the customer's shoulder.

use hailer_sdk::prelude::*;

/// Tells customers by text message when one of their cards is blocked, unblocked, deleted, restored
/// or replaced.
///
/// Each kind of change has a template; an empty one switches the message off. The data of every
/// template is `card`, the last four digits of the card, which is null if they are unknown. So the
/// text must also read well without digits.
#[rule]
pub struct CardSecurity {
    /// A card was blocked.
    #[param(default = "card-blocked", max = 128)]
    blocked_template: String,
    /// A card was unblocked. The owner gets a message, so that no other person can do it unnoticed.
    #[param(default = "card-unblocked", max = 128)]
    unblocked_template: String,
    /// A card was deleted.
    #[param(default = "card-deleted", max = 128)]
    deleted_template: String,
    /// A card was restored.
    #[param(default = "card-restored", max = 128)]
    restored_template: String,
    /// A card was replaced by a new one. The data also has `old_card`.
    #[param(default = "card-replaced", max = 128)]
    replaced_template: String,
}

#[handlers]
impl CardSecurity {
    /// The source has one code for blocking and unblocking, so the state decides, never the code.
    fn block_changed(
        &self,
        CardBlockChanged { target_block_state, card_number, card_is_deleted, .. }: CardBlockChanged,
        ctx: &mut Context,
    ) {
        // Present only if the event carries the whole card. The owner of a deleted card got a
        // message when it was deleted.
        if card_is_deleted == Some(true) {
            return ctx.note(
                "not sent: the card is deleted, so it does not matter whether it is blocked",
            );
        }
        let template =
            if target_block_state { &self.blocked_template } else { &self.unblocked_template };
        self.notify(template, card_number, None, ctx);
    }

    fn delete_changed(
        &self,
        CardDeleteChanged {
            target_delete_state,
            card_number,
            card_is_blocked,
            ..
        }: CardDeleteChanged,
        ctx: &mut Context,
    ) {
        if !target_delete_state && card_is_blocked == Some(true) {
            return ctx.note(
                "not sent: restored but blocked, so \"your card is back\" would not be true",
            );
        }
        let template =
            if target_delete_state { &self.deleted_template } else { &self.restored_template };
        self.notify(template, card_number, None, ctx);
    }

    fn linked(
        &self,
        CardLinked { link_card_type, new_card_number, old_card_number, .. }: CardLinked,
        ctx: &mut Context,
    ) {
        if link_card_type != "ReplaceCard" {
            return ctx.note("not sent: a card was added, none replaced");
        }
        self.notify(&self.replaced_template, new_card_number, Some(old_card_number), ctx);
    }
}

impl CardSecurity {
    fn notify(
        &self,
        template: &str,
        number: Option<&str>,
        replaced: Option<Option<&str>>,
        ctx: &mut Context,
    ) {
        if template.is_empty() {
            return ctx.note("not sent: this kind of message is switched off");
        }
        let message = Sms::template(template).data("card", number.and_then(last_four));
        ctx.send(match replaced {
            Some(old_number) => message.data("old_card", old_number.and_then(last_four)),
            None => message,
        });
        ctx.note("sent to the owner of the card");
    }
}

/// The last four digits of a card's number, the only part that may leave the rule. `None` if the
/// number is so short that four digits would be most of it.
fn last_four(number: &str) -> Option<&str> {
    let digits = number.get(number.len().checked_sub(4)?..)?;
    (number.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn a_message_about_a_block_has_the_last_four_digits() {
        Scenario::new(CardSecurity::default())
            .event("CardBlockChanged")
            .expect_sent(Sms::template("card-blocked").data("card", "0008"))
            .expect_nothing();
    }

    #[test]
    fn the_state_decides_and_not_the_event_code() {
        Scenario::new(CardSecurity::default())
            .event(Event::of("CardBlockChanged").set("target_block_state", false))
            .expect_sent(Sms::template("card-unblocked").data("card", "0008"))
            .event(Event::of("CardBlockChanged").set("/eventCode", "OnUnblockCard"))
            .expect_sent(Sms::template("card-blocked").data("card", "0008"))
            .event(Event::of("CardDeleteChanged").set("target_delete_state", false))
            .expect_sent(Sms::template("card-restored").data("card", "0502"));
    }

    #[test]
    fn a_card_flattened_into_the_event_is_read() {
        Scenario::new(CardSecurity::default())
            .event("CardDeleteChanged")
            .expect_sent(Sms::template("card-deleted").data("card", "0502"))
            .expect_nothing();
    }

    #[test]
    fn a_block_of_a_deleted_card_gets_no_message() {
        Scenario::new(CardSecurity::default())
            .event(Event::of("CardBlockChanged").set("/cardInfo/isDeleted", true))
            .expect_nothing()
            .expect_note("the card is deleted");
    }

    #[test]
    fn a_card_that_is_restored_but_blocked_gets_no_message() {
        let restored = Event::of("CardDeleteChanged").set("target_delete_state", false);
        Scenario::new(CardSecurity::default())
            .event(restored.set("card_is_blocked", true))
            .expect_nothing()
            .expect_note("restored but blocked")
            // The message about its deletion is sent.
            .event(Event::of("CardDeleteChanged").set("card_is_blocked", true))
            .expect_sent(Sms::template("card-deleted").data("card", "0502"));
    }

    #[test]
    fn a_replacement_names_both_cards() {
        Scenario::new(CardSecurity::default())
            .event("CardLinked")
            .expect_sent(
                Sms::template("card-replaced").data("card", "1226").data("old_card", "4935"),
            )
            .expect_nothing();
    }

    #[test]
    fn an_added_card_gets_no_message() {
        for kind in ["AttachCard", "SetCard", "Неизвестно"] {
            Scenario::new(CardSecurity::default())
                .event(
                    Event::of("CardLinked")
                        .set("link_card_type", kind)
                        .set_json("/oldCard", "null"),
                )
                .expect_nothing()
                .expect_note("none replaced");
        }
    }

    #[test]
    fn a_card_without_a_number_gets_a_message() {
        Scenario::new(CardSecurity::default())
            .event(Event::of("CardBlockChanged").without("card_number"))
            .expect_sent(Sms::template("card-blocked").data("card", None::<&str>))
            .event(Event::of("CardLinked").set_json("/oldCard", "null"))
            .expect_sent(
                Sms::template("card-replaced").data("card", "1226").data("old_card", None::<&str>),
            );
    }

    #[test]
    fn only_the_last_four_digits_of_a_number_leave_the_rule() {
        assert_eq!(last_four("4237436357530502"), Some("0502"));
        assert_eq!(last_four("12345678"), Some("5678"));
        for unfit in
            ["", "502", "0502", "1234567", "карта-502", "4237-4363-нет", "423743635753050Ж"]
        {
            assert_eq!(last_four(unfit), None, "{unfit}");
        }
        let mut scenario = Scenario::new(CardSecurity::default());
        for event in ["CardBlockChanged", "CardDeleteChanged", "CardLinked"] {
            scenario.event(event);
            let told = format!("{:?} {:?}", scenario.sent(), scenario.notes());
            assert!(
                ["020000008", "4237436357530502", "1664669457201226"]
                    .iter()
                    .all(|number| !told.contains(number))
            );
        }
    }

    #[test]
    fn a_change_without_a_template_gets_no_message() {
        let rule = CardSecurity { unblocked_template: String::new(), ..CardSecurity::default() };
        Scenario::new(rule)
            .event(Event::of("CardBlockChanged").set("target_block_state", false))
            .expect_nothing()
            .expect_note("switched off");
    }

    #[test]
    fn an_event_with_a_missing_or_invalid_state_is_not_decided() {
        Scenario::new(CardSecurity::default())
            .event(Event::of("CardBlockChanged").set_json("target_block_state", "null"))
            .expect_nothing()
            .event(Event::of("CardDeleteChanged").set("target_delete_state", "true"))
            .expect_nothing();
    }
}
