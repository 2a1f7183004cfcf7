use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, Purchased { amount, .. }: Purchased, ctx: &mut Context) {}
}

fn main() {}
