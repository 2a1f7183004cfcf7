use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, _: Purchase, ctx: &mut Context) {}
    fn bought_again(&self, _: Purchase, ctx: &mut Context) {}

    #[on("OnPurchaseConfirm")]
    fn bought_too(&self, _: AnyEvent, ctx: &mut Context) {}
}

fn main() {}
