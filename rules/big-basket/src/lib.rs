//! Thanks for a big basket, right after the purchase.
//!
//! These messages must not be sent: thanks for a refund, for carrier bags and gift cards, or for a
//! purchase of last week that waited in a queue. The handler's condition excludes refunds. The
//! handler checks the rest and leaves a note.

use hailer_sdk::prelude::*;

/// Thanks customers whose basket reaches an amount.
///
/// Amounts are exact decimals: 0.1 and 0.2 make 0.3, and a purchase of exactly the threshold
/// counts.
#[rule]
pub struct BigBasket {
    /// The smallest amount that gets a message, in the purchase's currency.
    #[param(default = "100.00", min = 0)]
    threshold: Decimal,
    /// Only purchases in shops of this brand count (`brandId`); empty for all brands.
    #[param(default = "")]
    brand: String,
    /// The currency of the threshold (`currencyExternalId`); empty if there is only one. A hundred
    /// roubles are not a hundred euros.
    #[param(default = "")]
    currency: String,
    /// Goods (`itemId`) that do not count towards the amount: carrier bags, gift cards.
    #[param(default = [])]
    excluded_items: Vec<String>,
    /// Purchases older than this number of hours get no message, because after an outage the queue
    /// may hold old ones. A purchase with an unreadable time gets none either; one without a time
    /// does. 0: purchases of any age.
    #[param(default = 0)]
    hours_max: u32,
    /// The push message's template. Its data is `amount` (the amount that counts), `items` (the
    /// number of lines that count) and `bonuses` (the bonuses that the purchase earned).
    #[param(default = "big-basket", min = 1, max = 128)]
    template: String,
}

#[handlers]
impl BigBasket {
    /// The engine checks the condition before it calls the rule, so purchases of other brands cost
    /// next to nothing. The handler compares the threshold, because excluded goods must be
    /// subtracted first.
    ///
    /// The pattern of a list names the fields of each line; the rule gets nothing else of the
    /// cheque.
    #[when(
        (is_refund.is_none() || !is_refund)
            && (self.brand == "" || brand_id == self.brand)
            && (self.currency == "" || currency_external_id == self.currency)
    )]
    fn purchase(
        &self,
        Purchase {
            amount,
            is_refund,
            date_time,
            date_time_text,
            brand_id,
            currency_external_id,
            items: [ChequeItem { item_id, amount, .. }],
            rewards: [Reward { reward_type, amount, .. }],
            ..
        }: Purchase,
        ctx: &mut Context,
    ) {
        if self.hours_max > 0 {
            match date_time {
                Some(at) if ctx.now().since(at) > hours(self.hours_max) => {
                    return ctx.note("not sent: the purchase is too long ago");
                }
                None if date_time_text.is_some() => {
                    return ctx.note("not sent: the purchase's time cannot be read");
                }
                _ => {}
            }
        }
        let (mut counted, mut lines) = (amount, items.len());
        for item in items.iter().filter(|item| self.excludes(item.item_id)) {
            counted -= item.amount;
            lines -= 1;
        }
        if counted < self.threshold {
            return ctx.note("not sent: below the threshold");
        }
        let bonuses: Decimal = rewards
            .iter()
            .filter(|one| one.reward_type == Some("Bonus"))
            .map(|one| one.amount)
            .sum();
        // The message has two digits after the point; the comparison used all of them.
        ctx.send(
            Push::template(&self.template)
                .data("amount", counted.round(2))
                .data("items", lines)
                .data("bonuses", bonuses.round(2)),
        );
        ctx.note("thanked for a big basket");
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

    fn at_135() -> BigBasket {
        BigBasket { threshold: dec!(135), ..BigBasket::default() }
    }

    fn thanks(amount: Decimal, items: usize) -> hailer_sdk::Message<'static> {
        Push::template("big-basket")
            .data("amount", amount)
            .data("items", items)
            .data("bonuses", dec!(62.51))
    }

    #[test]
    fn a_basket_of_at_least_the_threshold_gets_a_message_with_its_bonuses() {
        Scenario::new(at_135())
            .event("Purchase")
            .expect_sent(thanks(dec!(135), 2))
            .expect_nothing();
    }

    #[test]
    fn a_ten_thousandth_less_is_not_enough() {
        Scenario::new(at_135())
            .event(Event::of("Purchase").set("amount", dec!(134.9999)))
            .expect_nothing()
            .expect_note("below the threshold");
    }

    #[test]
    fn amounts_are_rounded_to_two_digits() {
        let mut scenario = Scenario::new(BigBasket::default());
        scenario.event(Event::of("Purchase").set_json("amount", "135.1000"));
        assert_eq!(scenario.sent()[0].data["amount"].to_string(), "135.10");
    }

    #[test]
    fn bonuses_are_added_exactly_and_discounts_are_not() {
        let rewards = r#"[
            {"amount": 0.1, "rewardType": "Bonus"}, {"amount": 0.2, "rewardType": "Bonus"},
            {"amount": 5, "rewardType": "Discount"}, {"amount": 7}
        ]"#;
        let expected = Push::template("big-basket")
            .data("amount", dec!(135))
            .data("items", 2)
            .data("bonuses", dec!(0.3));
        Scenario::new(at_135())
            .event(Event::of("Purchase").set_json("rewards", rewards))
            .expect_sent(expected);
    }

    #[test]
    fn purchases_of_another_or_an_unknown_brand_do_not_count() {
        Scenario::new(BigBasket { brand: BRAND.into(), ..BigBasket::default() })
            .event("Purchase")
            .expect_sent(thanks(dec!(135), 2))
            .event(Event::of("Purchase").set("brand_id", "another"))
            .expect_nothing()
            .expect_note(
                "its condition `(is_refund.is_none() || !is_refund) && brand_id == \"82013554",
            )
            .event(Event::of("Purchase").without("brand_id"))
            .expect_nothing();
    }

    #[test]
    fn the_threshold_is_in_one_currency() {
        let roubles = "718ae69b-76be-413f-ad19-7b7e02e4a438";
        Scenario::new(BigBasket { currency: roubles.into(), ..BigBasket::default() })
            .event("Purchase")
            .expect_sent(thanks(dec!(135), 2))
            .event(Event::of("Purchase").set("currency_external_id", "евро"))
            .expect_nothing()
            .expect_note("currency_external_id == ");
    }

    #[test]
    fn excluded_goods_do_not_count() {
        let rule = || BigBasket {
            excluded_items: vec!["2".into(), "мешок".into()],
            ..BigBasket::default()
        };
        Scenario::new(rule()).event("Purchase").expect_nothing().expect_note("below the threshold");
        Scenario::new(BigBasket { threshold: dec!(90), ..rule() })
            .event("Purchase")
            .expect_sent(thanks(dec!(90), 1));
        let bags = r#"[
            {"itemId": "мешок", "description": "Мешок", "amount": 35.0000},
            {"itemId": null, "amount": 100}
        ]"#;
        Scenario::new(rule())
            .event(Event::of("Purchase").set_json("items", bags))
            .expect_sent(thanks(dec!(100), 1));
    }

    #[test]
    fn excluded_goods_above_the_total_send_nothing() {
        let items = r#"[{"itemId": "1", "amount": 500}]"#;
        Scenario::new(BigBasket {
            excluded_items: vec!["1".into()],
            threshold: dec!(0),
            ..BigBasket::default()
        })
        .event(Event::of("Purchase").set_json("items", items))
        .expect_nothing();
    }

    #[test]
    fn a_cheque_without_lines_counts_by_its_total() {
        Scenario::new(at_135())
            .event(Event::of("Purchase").without("items"))
            .expect_sent(thanks(dec!(135), 0));
    }

    #[test]
    fn a_purchase_marked_as_a_refund_gets_no_message() {
        let mut scenario = Scenario::new(at_135());
        scenario
            .event(Event::of("Purchase").set("is_refund", true))
            .expect_nothing()
            .expect_note("its condition `is_refund.is_none() || !is_refund` did not match")
            .event(Event::of("Purchase").without("is_refund"))
            .expect_sent(thanks(dec!(135), 2))
            .event("PurchaseRefund")
            .expect_nothing();
    }

    #[test]
    fn an_old_purchase_gets_no_message() {
        Scenario::new(BigBasket { hours_max: 2, ..BigBasket::default() })
            .at("2020-08-13T18:53:47Z")
            .event("Purchase")
            .expect_sent(thanks(dec!(135), 2))
            .advance(seconds(1))
            .event("Purchase")
            .expect_nothing()
            .expect_note("too long ago")
            .event(Event::of("Purchase").without("date_time"))
            .expect_sent(thanks(dec!(135), 2))
            .event(Event::of("Purchase").set("date_time_text", "last week"))
            .expect_nothing()
            .expect_note("cannot be read");
    }

    #[test]
    fn a_purchase_with_an_unusable_field_is_not_decided() {
        let mut scenario = Scenario::new(BigBasket { hours_max: 24, ..BigBasket::default() });
        for (field, value) in [
            ("is_refund", r#""true""#),
            ("is_refund", "1"),
            ("brand_id", "{}"),
            ("items", r#"[{"itemId": {}, "amount": 135.00}]"#),
            ("rewards", r#"[{"rewardType": 5, "amount": 5}]"#),
            ("date_time", "true"),
        ] {
            scenario
                .at("2020-08-13T16:53:47Z")
                .event(Event::of("Purchase").set_json(field, value))
                .expect_nothing()
                .expect_note("is present but unusable");
        }
        // A time that is a number is unreadable, and this campaign limits the age of a purchase.
        scenario
            .event(Event::of("Purchase").set_json("date_time", "1597337627"))
            .expect_nothing()
            .expect_note("cannot be read");
    }

    #[test]
    fn a_purchase_without_an_amount_is_not_decided() {
        Scenario::new(BigBasket::default())
            .event(Event::of("Purchase").without("amount"))
            .expect_nothing()
            .expect_note("no `amount`");
    }

    #[test]
    fn parameters_have_bounds() {
        let campaign = Scenario::<BigBasket>::with_params(
            r#"{"threshold": "135.0001", "template": "thanks"}"#,
        );
        campaign.unwrap().event("Purchase").expect_nothing();
        assert!(Scenario::<BigBasket>::with_params(r#"{"threshold": "-1"}"#).is_err());
        assert!(Scenario::<BigBasket>::with_params(r#"{"treshold": "1"}"#).is_err());
    }
}
