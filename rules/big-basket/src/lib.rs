//! Thanks a customer for a big basket of one brand, and names how much of it was the kind of goods that the campaign is
//! about.

use hailer_sdk::prelude::*;

/// Thanks customers whose basket reaches an amount, once a purchase.
#[rule]
pub struct BigBasket {
    /// From this amount on, in the purchase's currency.
    #[param(default = "100.00", min = 0)]
    threshold: Decimal,
    /// The brand whose shops count (`brandId`); empty for all.
    #[param(default = "")]
    brand: String,
    /// Goods (`itemId`) that do not count towards the amount: carrier bags, gift cards.
    #[param(default = [])]
    excluded_items: Vec<String>,
    #[param(default = "big-basket", min = 1)]
    template: String,
}

#[handlers]
impl BigBasket {
    fn purchase(
        &self,
        Purchase { amount, brand_id, items: [ChequeItem { item_id, amount, .. }], .. }: Purchase,
        ctx: &mut Context,
    ) {
        if !self.brand.is_empty() && brand_id != Some(self.brand.as_str()) {
            return ctx.note("another brand");
        }
        let excluded: Decimal = items.iter().filter(|item| self.excludes(item.item_id)).map(|item| item.amount).sum();
        let counted = amount - excluded;
        if counted < self.threshold {
            return ctx.note(format!("{counted} is below {}", self.threshold));
        }
        ctx.send(Push::template(&self.template).data("amount", counted).data("items", items.len()));
    }
}

impl BigBasket {
    fn excludes(&self, item: Option<&str>) -> bool {
        item.is_some_and(|item| self.excluded_items.iter().any(|excluded| excluded == item))
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    const BRAND: &str = "82013554-3dd3-4e08-5a73-e8354f45ffa6";

    #[test]
    fn a_basket_from_the_threshold_on_is_thanked_for() {
        Scenario::new(BigBasket { threshold: dec!(135), ..BigBasket::default() })
            .event("Purchase")
            .expect_sent(Push::template("big-basket").data("amount", dec!(135)).data("items", 2))
            .expect_nothing();
    }

    #[test]
    fn a_kopeck_less_is_not_enough() {
        Scenario::new(BigBasket { threshold: dec!(135), ..BigBasket::default() })
            .event(Event::of("Purchase").set("amount", dec!(134.9999)))
            .expect_nothing()
            .expect_note("134.9999 is below 135");
    }

    #[test]
    fn another_brand_does_not_count() {
        let mut scenario = Scenario::new(BigBasket { brand: BRAND.into(), ..BigBasket::default() });
        scenario.event("Purchase").expect_sent(Push::template("big-basket").data("amount", dec!(135)).data("items", 2));
        scenario.event(Event::of("Purchase").set("brand_id", "another")).expect_nothing().expect_note("another brand");
        scenario.event(Event::of("Purchase").without("brand_id")).expect_nothing();
    }

    #[test]
    fn excluded_goods_do_not_count() {
        let rule = BigBasket { threshold: dec!(100), excluded_items: vec!["2".into()], ..BigBasket::default() };
        Scenario::new(rule).event("Purchase").expect_nothing().expect_note("90.0000 is below 100");
    }

    #[test]
    fn a_purchase_without_an_amount_is_not_decided() {
        Scenario::new(BigBasket::default())
            .event(Event::of("Purchase").without("amount"))
            .expect_nothing()
            .expect_note("no `amount`");
    }

    #[test]
    fn a_campaign_may_set_the_parameters_within_their_bounds() {
        Scenario::<BigBasket>::with_params(r#"{"threshold": "200", "template": "thanks"}"#)
            .unwrap()
            .event(Event::of("Purchase").set("amount", 200))
            .expect_sent(Push::template("thanks").data("amount", dec!(200)).data("items", 2));
        assert!(Scenario::<BigBasket>::with_params(r#"{"threshold": "-1"}"#).is_err());
        assert!(Scenario::<BigBasket>::with_params(r#"{"treshold": "1"}"#).is_err());
    }
}
