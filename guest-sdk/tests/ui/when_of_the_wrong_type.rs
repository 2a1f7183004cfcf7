use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = "100.00")]
    threshold: Decimal,
    #[param(default = "")]
    brand: String,
    #[param(default = [])]
    brands: Vec<String>,
}

#[handlers]
impl Thanks {
    #[when(amount >= "100")]
    fn text_for_a_number(&self, Purchase { amount, .. }: Purchase, ctx: &mut Context) {}
    #[when(brand_id == 17)]
    fn number_for_a_text(&self, PurchaseRefund { brand_id, .. }: PurchaseRefund, ctx: &mut Context) {}
    #[when(!card_category || card_type)]
    fn not_a_text(&self, CardActivated { card_category, card_type, .. }: CardActivated, ctx: &mut Context) {}
}

fn main() {}
