use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, purchase: Purchase, ctx: &mut Context) {}
}

fn main() {}
