use hailer_sdk::prelude::*;

#[derive(Default, State)]
struct Visits {
    count: u32,
}

#[rule]
struct Counts;

#[handlers]
impl Counts {
    fn bought(&self, _: Purchase, state: Visits, ctx: &mut Context) {}
    fn refunded(&self, _: PurchaseRefund, state: &Visits, ctx: &mut Context) {}
    #[timer]
    fn later(&self, state: Visits, ctx: &mut Context) {}
    fn linked(&self, _: CardLinked, state: &mut Visits) {}
    fn activated(&self, _: CardActivated, state: &mut Visits, more: u32, ctx: &mut Context) {}
}

fn main() {}
