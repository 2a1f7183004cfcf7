use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, _: Purchase, ctx: Context) {}
    fn refunded(&self, _: PurchaseRefund, ctx: &Context) {}
    fn linked(&self, _: CardLinked) {}
}

fn main() {}
