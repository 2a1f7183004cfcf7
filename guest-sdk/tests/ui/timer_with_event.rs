use hailer_sdk::prelude::*;

#[rule]
struct Nudge;

#[handlers]
impl Nudge {
    #[timer]
    fn nudge(&self, RegistrationStarted { customer_id, .. }: RegistrationStarted, ctx: &mut Context) {}
    #[timer]
    fn again(&self) {}
    #[timer(minutes = 60)]
    fn later(&self, ctx: &mut Context) {}
}

fn main() {}
