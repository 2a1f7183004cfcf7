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
