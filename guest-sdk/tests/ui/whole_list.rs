use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, Purchase { items, .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
