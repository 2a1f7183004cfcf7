use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, _: Purchase, _ctx: &mut Context) -> bool {
        true
    }
}

fn main() {}
