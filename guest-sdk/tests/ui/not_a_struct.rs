use hailer_sdk::prelude::*;

#[rule]
enum Thanks {
    Often,
}

#[rule]
struct Nameless(u32);

#[rule(name = "Big Basket")]
struct Misnamed;

fn main() {}
