use hailer_sdk::prelude::*;

#[rule]
struct Sends;

#[handlers]
impl Sends {
    fn bought(&self, _: Purchase, ctx: &mut Context) {}
    #[timer]
    fn missed(&self, ctx: &mut Context) {}
    #[merge]
    fn merge(&self, ctx: &mut MergeContext) {
        ctx.send(Push::template("merged"));
    }
}

fn main() {}
