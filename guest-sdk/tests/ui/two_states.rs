use hailer_sdk::prelude::*;

#[derive(Default, State)]
struct Visits {
    count: u32,
}

#[derive(Default, State)]
struct Refunds {
    count: u32,
}

#[rule]
struct Counts;

#[handlers]
impl Counts {
    fn bought(&self, _: Purchase, state: &mut Visits, ctx: &mut Context) {}
    fn refunded(&self, _: PurchaseRefund, state: &mut Refunds, ctx: &mut Context) {}
}

fn main() {}
