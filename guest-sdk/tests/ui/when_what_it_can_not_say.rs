use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = "100.00")]
    threshold: Decimal,
    #[param(default = 5)]
    hours: u32,
}

#[handlers]
impl Thanks {
    #[when(
        amount + 1 > self.threshold
            && brand_id == Some("x")
            && is_refund != None
            && amount >= dec!(100)
            && amount.round(2) == 5
            && date_time > 5
            && amount > 100u32
            && is_refund > false
            && self.hours > self.threshold
            && 1 == 1
            && true
            && amount.is_some()
            && items.is_none()
            && (is_refund & true)
            && *amount == 1
            && amount == 1e3
    )]
    fn purchase(
        &self,
        Purchase { amount, brand_id, is_refund, date_time, items: [ChequeItem { item_id, .. }], .. }: Purchase,
        ctx: &mut Context,
    ) {
    }
}

fn main() {}
