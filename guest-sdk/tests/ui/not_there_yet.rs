use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    #[timer]
    fn nudge(&self, ctx: &mut Context) {}
    fn bought(&self, _: Purchase, state: &mut u32, ctx: &mut Context) {}
}

fn main() {}
