use hailer_sdk::prelude::*;

#[rule]
struct Thanks {
    price: f64,
    count: usize,
    name: Option<String>,
    ladder: std::collections::HashMap<String, String>,
    brand: &'static str,
}

fn main() {}
