//! Tells customers which category (level) their card has reached. The levels form a ladder.
//!
//! **The event has only the new category.** The rule cannot see whether the customer rose or fell.
//! But the highest level can be reached only from below, and the lowest only from above or by
//! joining. So the rule congratulates on the highest level and sends nothing for the lowest. For
//! the levels between, the text must be true in both cases ("your level is now Gold, which gives
//! you ...").

use hailer_sdk::prelude::*;

/// Tells customers which level of the programme they have reached.
#[rule(name = "category-upgrade")]
pub struct Ladder {
    /// The categories (`newcardCategory`), from the lowest to the highest.
    #[param(default = ["Standard", "Silver", "Gold", "VIP"], min = 2)]
    steps: Vec<String>,
    /// The push message's template for the highest level: a congratulation. The data of every
    /// template is `category`.
    #[param(default = "category-top", min = 1, max = 128)]
    top_template: String,
    /// The template for the levels between; its text must not say that the customer rose. The data
    /// also has `next`, the next higher level.
    #[param(default = "category-reached", min = 1, max = 128)]
    step_template: String,
}

#[handlers]
impl Ladder {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        let repeated = |at: usize| self.steps[at + 1..].contains(&self.steps[at]);
        if (0..self.steps.len()).any(repeated) {
            return Err("a category is listed twice in `steps`");
        }
        Ok(())
    }

    fn changed(
        &self,
        CardCategoryChanged { new_card_category, .. }: CardCategoryChanged,
        ctx: &mut Context,
    ) {
        let category = new_card_category;
        let Some(step) = self.steps.iter().position(|step| step == category) else {
            return ctx.note("not sent: the category is not listed");
        };
        match self.steps.get(step + 1) {
            _ if step == 0 => ctx.note("not sent: the lowest level gets no message"),
            Some(next) => {
                ctx.send(
                    Push::template(&self.step_template)
                        .data("category", category)
                        .data("next", next),
                );
                ctx.note("sent: a level between, after a rise or a fall");
            }
            None => {
                ctx.send(Push::template(&self.top_template).data("category", category));
                ctx.note("sent: the highest level");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn reached(category: &str) -> Event {
        Event::of("CardCategoryChanged").set("new_card_category", category)
    }

    #[test]
    fn the_highest_level_gets_a_congratulation() {
        Scenario::new(Ladder::default())
            .event("CardCategoryChanged")
            .expect_sent(Push::template("category-top").data("category", "VIP"))
            .expect_nothing();
    }

    #[test]
    fn a_level_between_gets_a_message_with_the_next_level() {
        Scenario::new(Ladder::default())
            .event(reached("Silver"))
            .expect_sent(
                Push::template("category-reached").data("category", "Silver").data("next", "Gold"),
            )
            .event(reached("Gold"))
            .expect_sent(
                Push::template("category-reached").data("category", "Gold").data("next", "VIP"),
            )
            .expect_nothing();
    }

    #[test]
    fn the_lowest_level_gets_no_message() {
        Scenario::new(Ladder::default())
            .event(reached("Standard"))
            .expect_nothing()
            .expect_note("lowest level");
    }

    #[test]
    fn a_category_that_is_not_listed_gets_no_message() {
        Scenario::new(Ladder::default())
            .event(reached("Staff"))
            .expect_nothing()
            .expect_note("is not listed")
            .event(reached("vip"))
            .expect_nothing();
    }

    #[test]
    fn both_spellings_of_the_field_are_read_as_one() {
        let respelt = r#"{"eventCode": "OnCardCategoryChange", "newCardCategory": "VIP",
            "customerInfo": {"customerId": 42}}"#;
        Scenario::new(Ladder::default())
            .event(respelt)
            .expect_sent(Push::template("category-top").data("category", "VIP"));
    }

    #[test]
    fn the_campaign_defines_the_levels_in_any_script() {
        Scenario::<Ladder>::with_params(r#"{"steps": ["Бронза", "Серебро", "Золото"]}"#)
            .unwrap()
            .event(reached("Серебро"))
            .expect_sent(
                Push::template("category-reached")
                    .data("category", "Серебро")
                    .data("next", "Золото"),
            )
            .event(reached("Золото"))
            .expect_sent(Push::template("category-top").data("category", "Золото"))
            .event("CardCategoryChanged")
            .expect_nothing();
    }

    #[test]
    fn there_must_be_two_levels_and_each_only_once() {
        assert!(Scenario::<Ladder>::with_params(r#"{"steps": ["VIP"]}"#).is_err());
        let twice = Scenario::<Ladder>::with_params(r#"{"steps": ["Silver", "Gold", "Silver"]}"#);
        assert!(twice.unwrap_err().contains("listed twice"));
    }

    #[test]
    fn an_event_without_a_category_is_not_decided() {
        Scenario::new(Ladder::default())
            .event(Event::of("CardCategoryChanged").without("new_card_category"))
            .expect_nothing()
            .event(reached(""))
            .expect_nothing();
    }
}
