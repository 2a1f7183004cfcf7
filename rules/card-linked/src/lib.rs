//! A card was added to the account: a new one was set, or the cards of several came together. A card that is *replaced* is a
//! matter of security, and the campaign `card-security`'s; the two never write about the same event.

use hailer_sdk::prelude::*;

/// Tells customers that a card was added to their account.
///
/// Whoever added it may not have been the owner, so it is worth a message even where it sells nothing. It reads no card
/// number and needs no grant.
#[rule(name = "card-linked")]
pub struct AddedCard {
    /// The push message's template for a new card (`SetCard`). Filled with `category`, if the event names one.
    #[param(default = "card-set", min = 1, max = 128)]
    set_template: String,
    /// The push message's template for cards that came together under one account (`AttachCard`), filled the same.
    #[param(default = "cards-attached", min = 1, max = 128)]
    attach_template: String,
    /// Where cards are linked (`linkSource`) without a message: an import, or the call centre, where somebody has just told
    /// the customer.
    #[param(default = [])]
    silent_sources: Vec<String>,
}

#[handlers]
impl AddedCard {
    fn linked(
        &self,
        CardLinked { link_card_type, link_source, new_card_category, new_card_is_blocked, .. }: CardLinked,
        ctx: &mut Context,
    ) {
        let template = match link_card_type {
            "SetCard" => &self.set_template,
            "AttachCard" => &self.attach_template,
            "ReplaceCard" => return ctx.note("not sent: a replacement is for card-security"),
            _ => return ctx.note("not sent: a way of linking that this rule does not know"),
        };
        if link_source.is_some_and(|source| self.silent_sources.iter().any(|silent| silent == source)) {
            return ctx.note("not sent: linked where no message is wanted");
        }
        if new_card_is_blocked == Some(true) {
            return ctx.note("not sent: the card is blocked, so it can't be used");
        }
        ctx.send(Push::template(template).data("category", new_card_category));
        ctx.note("told of the new card");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    /// The source has an example of a replacement only. On any other way of linking the old card is null.
    fn linked(kind: &str) -> Event {
        Event::of("CardLinked").set("link_card_type", kind).set_json("/oldCard", "null")
    }

    #[test]
    fn a_new_card_and_cards_that_came_together_have_words_of_their_own() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard"))
            .expect_sent(Push::template("card-set").data("category", "VIP"))
            .expect_nothing()
            .event(linked("AttachCard"))
            .expect_sent(Push::template("cards-attached").data("category", "VIP"))
            .expect_nothing();
    }

    #[test]
    fn the_way_of_linking_decides_whatever_the_code_is() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set("/eventCode", "OnCardAttach"))
            .expect_sent(Push::template("card-set").data("category", "VIP"));
    }

    #[test]
    fn a_replacement_is_left_to_card_security() {
        Scenario::new(AddedCard::default()).event("CardLinked").expect_nothing().expect_note("card-security");
    }

    #[test]
    fn an_unknown_way_of_linking_is_not_guessed_at() {
        Scenario::new(AddedCard::default())
            .event(linked("setcard"))
            .expect_nothing()
            .expect_note("does not know")
            .event(Event::of("CardLinked").without("link_card_type"))
            .expect_nothing();
    }

    #[test]
    fn an_import_is_silent() {
        Scenario::new(AddedCard { silent_sources: vec!["Импорт".into()], ..AddedCard::default() })
            .event(linked("SetCard").set("link_source", "Импорт"))
            .expect_nothing()
            .expect_note("no message is wanted")
            .event(linked("SetCard").without("link_source"))
            .expect_sent(Push::template("card-set").data("category", "VIP"));
    }

    #[test]
    fn a_blocked_card_is_not_offered() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set("new_card_is_blocked", true))
            .expect_nothing()
            .expect_note("blocked");
    }

    #[test]
    fn a_card_of_which_nothing_is_known_is_told_of() {
        Scenario::new(AddedCard::default())
            .event(linked("SetCard").set_json("/newCard", "null"))
            .expect_sent(Push::template("card-set").data("category", None::<&str>));
    }
}
