use hailer_sdk::prelude::*;

#[derive(Default, State)]
struct Pair(u32, u32);

#[derive(Default, State)]
struct Borrowed<'a> {
    name: &'a str,
}

#[derive(State)]
enum Stage {
    New,
    Paid(Decimal, Timestamp),
}

#[derive(Default, State)]
#[state(version = 0)]
struct Zero {
    count: u32,
}

#[derive(Default, State)]
struct Holds {
    limit: std::time::Instant,
}

fn main() {}
