use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = "100.00")]
    threshold: Decimal,
}

#[handlers]
impl Thanks {
    #[when(amount >= self.threshold && brand_id == "x" && ammount > 5 && threshold > 5)]
    fn purchase(&self, Purchase { amount: total, .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
