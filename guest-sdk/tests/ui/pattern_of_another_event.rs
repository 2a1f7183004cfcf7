use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, PurchaseRefund { amount, .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
