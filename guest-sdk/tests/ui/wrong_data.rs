use hailer_sdk::prelude::*;

#[rule]
struct Thanks;

#[handlers]
impl Thanks {
    fn bought(&self, Purchase { items: [ChequeItem { amount, .. }], .. }: Purchase, ctx: &mut Context) {
        ctx.send(Sms::template("thanks").data("items", items));
    }
}

fn main() {}
