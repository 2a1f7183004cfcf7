use hailer_sdk::prelude::*;

#[derive(Default)]
struct Visits {
    count: u32,
}

#[rule]
struct Counts;

#[handlers]
impl Counts {
    fn bought(&self, _: Purchase, _state: &mut Visits, _ctx: &mut Context) {}
}

fn main() {}
