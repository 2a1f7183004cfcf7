use hailer_sdk::prelude::*;

#[derive(Default, State)]
struct Visits {
    count: u32,
}

#[rule]
struct First;

#[handlers]
impl First {
    fn bought(&self, _: Purchase, ctx: &mut Context) {}
    #[timer]
    fn missed(&self, ctx: &mut Context) {}
    #[merge]
    fn merge(&self, ctx: &mut Context) {}
}

#[rule]
struct Second;

#[handlers]
impl Second {
    fn bought(&self, _: Purchase, state: &mut Visits, ctx: &mut Context) {}
    #[merge]
    fn merge(&self, state: &mut Visits, other: Visits, ctx: MergeContext) {}
}

#[rule]
struct Third;

#[handlers]
impl Third {
    fn bought(&self, _: Purchase, state: &mut Visits, ctx: &mut Context) {}
    #[merge]
    fn merge(&self, ctx: &mut MergeContext) {}
}

#[rule]
struct Fourth;

#[handlers]
impl Fourth {
    fn bought(&self, _: Purchase, ctx: &mut Context) {}
    #[merge]
    fn merge(&self, ctx: &mut MergeContext) {}
}

fn main() {}
