use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, Purchase { items: [Reward { amount, .. }], .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
