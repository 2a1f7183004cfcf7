use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, Purchase { ammount, zebra, .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
