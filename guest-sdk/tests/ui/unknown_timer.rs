use hailer_sdk::prelude::*;

#[rule]
struct Nudge;

#[handlers]
impl Nudge {
    fn started(&self, _: RegistrationStarted, ctx: &mut Context) {
        ctx.schedule(Timer::NUDJE, minutes(60));
    }
    fn completed(&self, _: RegistrationCompleted, ctx: &mut Context) {
        ctx.schedule(Timer::NUDGE, 60);
        ctx.schedule(Timer::NUDGE, in_days(1));
    }
    #[timer]
    fn nudge(&self, _ctx: &mut Context) {}
}

fn main() {}
