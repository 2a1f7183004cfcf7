//! Tells customers that a card was added to their account: a new card was set, or cards of several
//! accounts were joined. A *replaced* card is a matter of security, which the campaign
//! `card-security` handles. The two campaigns never send a message for the same event.

use hailer_sdk::prelude::*;

/// Tells customers that a card was added to their account.
///
/// The person who added it may not be the owner, so the message is useful even without an offer.
/// The rule reads no card number and needs no grant.
#[rule(name = "card-linked")]
pub struct AddedCard {
    /// The push message's template for a new card (`SetCard`). Its data is `category`, if the event
    /// names one.
    #[param(default = "card-set", min = 1, max = 128)]
    set_template: String,
    /// The push message's template for joined cards (`AttachCard`), with the same data.
    #[param(default = "cards-attached", min = 1, max = 128)]
    attach_template: String,
    /// No message is sent for cards linked by these sources (`linkSource`): an import, or the call
    /// centre, which has just spoken to the customer.
    #[param(default = [])]
    silent_sources: Vec<String>,
}

#[handlers]
impl AddedCard {
    fn linked(
        &self,
        CardLinked {
            link_card_type,
            link_source,
            new_card_category,
            new_card_is_blocked,
            ..
        }: CardLinked,
        ctx: &mut Context,
    ) {
        let template = match link_card_type {
            "SetCard" => &self.set_template,
            "AttachCard" => &self.attach_template,
            "ReplaceCard" => return ctx.note("not sent: a replacement is for card-security"),
            _ => return ctx.note("not sent: an unknown kind of link"),
        };
        if link_source
            .is_some_and(|source| self.silent_sources.iter().any(|silent| silent == source))
        {
            return ctx.note("not sent: this source of links gets no message");
        }
        if new_card_is_blocked == Some(true) {
            return ctx.note("not sent: the card is blocked, so it can't be used");
        }
        ctx.send(Push::template(template).data("category", new_card_category));
        ctx.note("sent: a card was added");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    /// The source has only an example of a replacement. For other kinds of links, the old card is
    /// null.
    fn linked(kind: &str) -> Event {
        Event::of("CardLinked").set("link_card_type", kind).set_json("/oldCard", "null")
    }

    #[test]
    fn a_new_card_and_joined_cards_have_their_own_templates() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard"))
            .expect_sent(Push::template("card-set").data("category", "VIP"))
            .expect_nothing()
            .event(linked("AttachCard"))
            .expect_sent(Push::template("cards-attached").data("category", "VIP"))
            .expect_nothing();
    }

    #[test]
    fn the_kind_of_link_decides_and_not_the_event_code() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set("/eventCode", "OnCardAttach"))
            .expect_sent(Push::template("card-set").data("category", "VIP"));
    }

    #[test]
    fn a_replacement_is_left_to_card_security() {
        Scenario::new(AddedCard::default())
            .event("CardLinked")
            .expect_nothing()
            .expect_note("card-security");
    }

    #[test]
    fn an_unknown_kind_of_link_sends_nothing() {
        Scenario::new(AddedCard::default())
            .event(linked("setcard"))
            .expect_nothing()
            .expect_note("an unknown kind of link")
            .event(Event::of("CardLinked").without("link_card_type"))
            .expect_nothing();
    }

    #[test]
    fn a_silent_source_sends_nothing() {
        Scenario::new(AddedCard {
            silent_sources: vec!["Импорт".into()], ..AddedCard::default()
        })
        .event(linked("SetCard").set("link_source", "Импорт"))
        .expect_nothing()
        .expect_note("this source of links gets no message")
        .event(linked("SetCard").without("link_source"))
        .expect_sent(Push::template("card-set").data("category", "VIP"));
    }

    #[test]
    fn a_blocked_card_gets_no_message() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set("new_card_is_blocked", true))
            .expect_nothing()
            .expect_note("blocked");
    }

    #[test]
    fn a_card_without_details_gets_a_message() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set_json("/newCard", "null"))
            .expect_sent(Push::template("card-set").data("category", None::<&str>));
    }
}
