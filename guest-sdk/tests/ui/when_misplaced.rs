use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = true)]
    on: bool,
}

#[handlers]
impl Thanks {
    #[when(amount > 5)]
    #[when(amount < 9)]
    fn twice(&self, Purchase { amount, .. }: Purchase, ctx: &mut Context) {}
    #[when]
    fn empty(&self, _: PurchaseRefund, ctx: &mut Context) {}
    #[when(self.on)]
    #[timer]
    fn later(&self, ctx: &mut Context) {}
    #[on(when = amount > 5)]
    fn other(&self, _: AnyEvent, ctx: &mut Context) {}
}

fn main() {}
