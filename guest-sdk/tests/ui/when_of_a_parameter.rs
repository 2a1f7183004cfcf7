use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = "100.00")]
    threshold: Decimal,
    #[param(default = "")]
    brand: String,
    #[param(default = [])]
    brands: Vec<String>,
}

#[handlers]
impl Thanks {
    #[when(amount >= self.brand && brand_id == self.brands && self.threshold && amount < self.treshold)]
    fn purchase(&self, Purchase { amount, brand_id, .. }: Purchase, ctx: &mut Context) {}
}

fn main() {}
