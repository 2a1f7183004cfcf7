use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn helper(amount: Decimal) -> bool {
        true
    }
    fn other(&self, ctx: &mut Context) {}
}

fn main() {}
