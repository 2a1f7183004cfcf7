use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    #[param(default = "many")]
    count: u32,
    #[param(default = -1)]
    small: u8,
    #[param(default = "12,50")]
    price: Decimal,
    #[param(default = 5, max = 4)]
    bounded: i64,
    #[param(default = "", min = 1)]
    template: String,
    #[param(default = "a")]
    brands: Vec<String>,
    #[param(defualt = true)]
    on: bool,
    #[param(min = 2, max = 1)]
    turned: i64,
}

fn main() {}
