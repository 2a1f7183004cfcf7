//! The card's category as a ladder: which step has the customer reached?
//!
//! **The event has the new category only.** Whether it is a rise or a fall can't be seen, and congratulating somebody on
//! the Gold they fell to would hurt twice. But the ends of a ladder tell: the top can only be reached from below, and the
//! lowest step only from above, or by joining. So the top is congratulated on, the steps between are told of in words that are
//! true both ways ("your level is now Gold, which brings you ..."), and the lowest step passes in silence.

use hailer_sdk::prelude::*;

/// Tells customers which level of the programme they have reached.
#[rule(name = "category-upgrade")]
pub struct Ladder {
    /// The categories (`newcardCategory`) from the lowest to the highest.
    #[param(default = ["Standard", "Silver", "Gold", "VIP"], min = 2)]
    steps: Vec<String>,
    /// The push message's template for the highest step: a congratulation. Every template is filled with `category`.
    #[param(default = "category-top", min = 1, max = 128)]
    top_template: String,
    /// The template for a step between: it must not say "up". Also filled with `next`, the step above.
    #[param(default = "category-reached", min = 1, max = 128)]
    step_template: String,
}

#[handlers]
impl Ladder {
    #[configure]
    fn check(&self) -> Result<(), &'static str> {
        let repeated = |at: usize| self.steps[at + 1..].contains(&self.steps[at]);
        if (0..self.steps.len()).any(repeated) {
            return Err("a category stands twice in `steps`: a ladder has each step once");
        }
        Ok(())
    }

    fn changed(&self, CardCategoryChanged { new_card_category, .. }: CardCategoryChanged, ctx: &mut Context) {
        let category = new_card_category;
        let Some(step) = self.steps.iter().position(|step| step == category) else {
            return ctx.note("not sent: the category is no step of the ladder");
        };
        match self.steps.get(step + 1) {
            _ if step == 0 => ctx.note("not sent: the lowest step is nothing to tell of"),
            Some(next) => {
                ctx.send(Push::template(&self.step_template).data("category", category).data("next", next));
                ctx.note("told of a step that may be a rise or a fall");
            }
            None => {
                ctx.send(Push::template(&self.top_template).data("category", category));
                ctx.note("congratulated on the highest step");
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
    fn the_highest_step_is_congratulated_on() {
        Scenario::new(Ladder::default())
            .event("CardCategoryChanged")
            .expect_sent(Push::template("category-top").data("category", "VIP"))
            .expect_nothing();
    }

    #[test]
    fn a_step_between_is_told_of_with_the_one_above() {
        Scenario::new(Ladder::default())
            .event(reached("Silver"))
            .expect_sent(Push::template("category-reached").data("category", "Silver").data("next", "Gold"))
            .event(reached("Gold"))
            .expect_sent(Push::template("category-reached").data("category", "Gold").data("next", "VIP"))
            .expect_nothing();
    }

    #[test]
    fn the_lowest_step_passes_in_silence() {
        Scenario::new(Ladder::default()).event(reached("Standard")).expect_nothing().expect_note("lowest step");
    }

    #[test]
    fn a_category_beside_the_ladder_is_nobodys_rise() {
        Scenario::new(Ladder::default())
            .event(reached("Staff"))
            .expect_nothing()
            .expect_note("no step of the ladder")
            .event(reached("vip"))
            .expect_nothing();
    }

    #[test]
    fn both_spellings_of_the_field_are_read() {
        let respelt =
            r#"{"eventCode": "OnCardCategoryChange", "newCardCategory": "VIP", "customerInfo": {"customerId": 42}}"#;
        Scenario::new(Ladder::default())
            .event(respelt)
            .expect_sent(Push::template("category-top").data("category", "VIP"));
    }

    #[test]
    fn the_ladder_is_the_campaigns_in_any_script() {
        Scenario::<Ladder>::with_params(r#"{"steps": ["Бронза", "Серебро", "Золото"]}"#)
            .unwrap()
            .event(reached("Серебро"))
            .expect_sent(Push::template("category-reached").data("category", "Серебро").data("next", "Золото"))
            .event(reached("Золото"))
            .expect_sent(Push::template("category-top").data("category", "Золото"))
            .event("CardCategoryChanged")
            .expect_nothing();
    }

    #[test]
    fn a_ladder_needs_two_steps_and_each_once() {
        assert!(Scenario::<Ladder>::with_params(r#"{"steps": ["VIP"]}"#).is_err());
        let twice = Scenario::<Ladder>::with_params(r#"{"steps": ["Silver", "Gold", "Silver"]}"#);
        assert!(twice.unwrap_err().contains("stands twice"));
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
