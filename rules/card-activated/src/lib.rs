//! Tells customers that their new card is ready to be used.
//!
//! These messages must not be sent: a message about a blocked card, one about a card that was
//! activated years ago and is only imported now, and the same text for a guest and for a
//! long-standing customer.

use hailer_sdk::prelude::*;

/// Tells customers that their card is ready to be used, with a template for the card's category.
///
/// It reads no card number, so the campaign needs no grant. A customer who has just activated a
/// card knows which one is meant.
#[rule(name = "card-activated")]
pub struct ReadyCard {
    /// The push message's template. Its data is `category`, if the event names one.
    #[param(default = "card-activated", min = 1, max = 128)]
    template: String,
    /// Templates for some categories (`cardCategory`), in place of the usual one. An empty template
    /// switches the message off for a category, such as test cards or cards of the staff.
    #[param(default = [("VIP", "card-activated-vip")])]
    category_templates: Map<String, String>,
    /// Only cards of these types count (`cardType`); empty for all types.
    #[param(default = [])]
    card_types: Vec<String>,
    /// Cards activated more than this number of hours ago get no message. 0: cards activated at any
    /// time.
    #[param(default = 0)]
    hours_max: u32,
}

#[handlers]
impl ReadyCard {
    /// The condition selects usable cards: activated, and neither blocked nor deleted as far as the
    /// event says.
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
        if !self.card_types.is_empty()
            && !card_type.is_some_and(|found| self.card_types.iter().any(|one| one == found))
        {
            return ctx.note("not sent: another type of card");
        }
        if self.hours_max > 0
            && card_activation_date.is_some_and(|at| ctx.now().since(at) > hours(self.hours_max))
        {
            return ctx.note("not sent: activated too long ago");
        }
        let template = card_category
            .and_then(|category| self.category_templates.get(category))
            .unwrap_or(&self.template);
        if template.is_empty() {
            return ctx.note("not sent: this category gets no message");
        }
        ctx.send(Push::template(template).data("category", card_category));
        ctx.note("sent: the card is ready");
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    #[test]
    fn a_ready_card_gets_the_message_of_its_category() {
        Scenario::new(ReadyCard::default())
            .event("CardActivated")
            .expect_sent(Push::template("card-activated-vip").data("category", "VIP"))
            .expect_nothing()
            .event(Event::of("CardActivated").set("card_category", "Silver"))
            .expect_sent(Push::template("card-activated").data("category", "Silver"));
    }

    #[test]
    fn categories_may_use_any_script() {
        let category_templates = [("Золотая".into(), "ready-gold".into())].into();
        Scenario::new(ReadyCard { category_templates, ..ReadyCard::default() })
            .event(Event::of("CardActivated").set("card_category", "Золотая"))
            .expect_sent(Push::template("ready-gold").data("category", "Золотая"));
    }

    #[test]
    fn a_category_with_an_empty_template_gets_no_message() {
        Scenario::<ReadyCard>::with_params(r#"{"category_templates": {"Staff": ""}}"#)
            .unwrap()
            .event(Event::of("CardActivated").set("card_category", "Staff"))
            .expect_nothing()
            .expect_note("this category gets no message")
            .event("CardActivated")
            .expect_sent(Push::template("card-activated").data("category", "VIP"));
    }

    #[test]
    fn a_card_without_a_category_gets_the_usual_template() {
        Scenario::new(ReadyCard::default())
            .event(Event::of("CardActivated").without("card_category"))
            .expect_sent(Push::template("card-activated").data("category", None::<&str>));
    }

    #[test]
    fn a_blocked_or_deleted_card_gets_no_message() {
        for field in ["card_is_blocked", "card_is_deleted"] {
            Scenario::new(ReadyCard::default())
                .event(Event::of("CardActivated").set(field, true))
                .expect_nothing()
                .expect_note("(card_is_blocked.is_none() || !card_is_blocked)");
        }
    }

    #[test]
    fn a_card_in_another_state_gets_no_message() {
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
    fn a_card_activated_long_ago_gets_no_message() {
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
