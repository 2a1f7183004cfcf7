//! A card is ready: the one message about a card that customers wait for, with what they can do now.
//!
//! What would embarrass: calling a card ready that is blocked, writing about a card that was activated years ago in another
//! system and has just been moved in, and the same words for a guest and for the oldest customer.

use hailer_sdk::prelude::*;

/// Tells customers that their card is ready to be used, in words for the card's category.
///
/// It reads no card number, so the campaign needs no grant: whoever has just activated a card knows which.
#[rule(name = "card-activated")]
pub struct ReadyCard {
    /// The push message's template. It is filled with `category`, if the event names one.
    #[param(default = "card-activated", min = 1, max = 128)]
    template: String,
    /// Templates for cards of some categories (`cardCategory`), in place of the usual one. An empty one means that this
    /// category isn't written to: test cards, cards of the staff.
    #[param(default = [("VIP", "card-activated-vip")])]
    category_templates: Map<String, String>,
    /// Only cards of these types (`cardType`); empty for all.
    #[param(default = [])]
    card_types: Vec<String>,
    /// Cards activated longer ago than this are not written about. 0: activated at any time.
    #[param(default = 0)]
    hours_max: u32,
}

#[handlers]
impl ReadyCard {
    /// Only a card that can be used: activated, and neither blocked nor deleted as far as the event says.
    #[when(
        target_state == "Activated"
            && (card_is_blocked.is_none() || !card_is_blocked)
            && (card_is_deleted.is_none() || !card_is_deleted)
    )]
    fn activated(
        &self,
        CardActivated {
            target_state,
            card_type,
            card_category,
            card_activation_date,
            card_is_blocked,
            card_is_deleted,
            ..
        }: CardActivated,
        ctx: &mut Context,
    ) {
        if !self.card_types.is_empty() && !card_type.is_some_and(|found| self.card_types.iter().any(|one| one == found))
        {
            return ctx.note("not sent: another type of card");
        }
        if self.hours_max > 0 && card_activation_date.is_some_and(|at| ctx.now().since(at) > hours(self.hours_max)) {
            return ctx.note("not sent: activated too long ago");
        }
        let template =
            card_category.and_then(|category| self.category_templates.get(category)).unwrap_or(&self.template);
        if template.is_empty() {
            return ctx.note("not sent: this category is not written to");
        }
        ctx.send(Push::template(template).data("category", card_category));
        ctx.note("told that the card is ready");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn a_card_that_is_ready_is_announced_in_words_for_its_category() {
        Scenario::new(ReadyCard::default())
            .event("CardActivated")
            .expect_sent(Push::template("card-activated-vip").data("category", "VIP"))
            .expect_nothing()
            .event(Event::of("CardActivated").set("card_category", "Silver"))
            .expect_sent(Push::template("card-activated").data("category", "Silver"));
    }

    #[test]
    fn categories_are_named_in_any_script() {
        let category_templates = [("Золотая".into(), "ready-gold".into())].into();
        Scenario::new(ReadyCard { category_templates, ..ReadyCard::default() })
            .event(Event::of("CardActivated").set("card_category", "Золотая"))
            .expect_sent(Push::template("ready-gold").data("category", "Золотая"));
    }

    #[test]
    fn a_category_with_an_empty_template_is_not_written_to() {
        Scenario::<ReadyCard>::with_params(r#"{"category_templates": {"Staff": ""}}"#)
            .unwrap()
            .event(Event::of("CardActivated").set("card_category", "Staff"))
            .expect_nothing()
            .expect_note("this category is not written to")
            .event("CardActivated")
            .expect_sent(Push::template("card-activated").data("category", "VIP"));
    }

    #[test]
    fn a_card_of_no_category_gets_the_usual_words() {
        Scenario::new(ReadyCard::default())
            .event(Event::of("CardActivated").without("card_category"))
            .expect_sent(Push::template("card-activated").data("category", None::<&str>));
    }

    #[test]
    fn a_card_that_cannot_be_used_is_not_called_ready() {
        for field in ["card_is_blocked", "card_is_deleted"] {
            Scenario::new(ReadyCard::default())
                .event(Event::of("CardActivated").set(field, true))
                .expect_nothing()
                .expect_note("(card_is_blocked.is_none() || !card_is_blocked)");
        }
    }

    #[test]
    fn a_card_that_went_elsewhere_is_not_called_ready() {
        Scenario::new(ReadyCard::default())
            .event(Event::of("CardActivated").set("target_state", "Issued"))
            .expect_nothing()
            .event(Event::of("CardActivated").without("target_state"))
            .expect_nothing()
            .expect_note("its condition `target_state == \"Activated\" && ");
    }

    #[test]
    fn only_the_chosen_types_of_cards_count() {
        Scenario::new(ReadyCard { card_types: vec!["Virtual".into()], ..ReadyCard::default() })
            .event("CardActivated")
            .expect_nothing()
            .expect_note("another type")
            .event(Event::of("CardActivated").without("card_type"))
            .expect_nothing()
            .event(Event::of("CardActivated").set("card_type", "Virtual"))
            .expect_sent(Push::template("card-activated-vip").data("category", "VIP"));
    }

    #[test]
    fn an_old_card_that_was_moved_in_is_not_announced() {
        Scenario::new(ReadyCard { hours_max: 24, ..ReadyCard::default() })
            .at("2021-07-20T16:33:24Z")
            .event("CardActivated")
            .expect_sent(Push::template("card-activated-vip").data("category", "VIP"))
            .advance(seconds(1))
            .event("CardActivated")
            .expect_nothing()
            .expect_note("too long ago");
    }
}
