use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    #[on("OnSomething")]
    fn bought(&self, _: Purchase, ctx: &mut Context) {}
    #[on]
    fn other(&self, _: AnyEvent, ctx: &mut Context) {}
}

fn main() {}
