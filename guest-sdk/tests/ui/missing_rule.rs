use hailer_sdk::prelude::*;

struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, _: Purchase, ctx: &mut Context) {
        ctx.note("bought");
    }
}

fn main() {}
