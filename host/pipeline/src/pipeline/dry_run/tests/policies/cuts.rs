//! The verdicts and their order do not depend on how the events are cut into batches.

use super::*;

#[test]
fn verdicts_do_not_depend_on_how_the_events_are_cut() {
    let text = format!(
        "time_zone_attribute = \"TimeZone\"\n{NIGHT}spread = \"30m\"\n\
         [[cap]]\nname = \"day\"\nmax = 2\nper = \"day\"\n[per_event]\ncampaigns_max = 1\n\
         [control.holdout]\npercent = 20\nsalt = \"2026\""
    );
    let events = || {
        traffic().into_iter().map(|(number, customer, now)| {
            purchase(number, customer, at("2026-03-02T00:00:00Z") + now)
        })
    };
    let until = at("2026-03-20T00:00:00Z");
    let new = || under(policies(&text), &["a", "b"], vec![send("x")]);
    let whole = new().decide(events(), until).unwrap();
    let mut one_by_one = new();
    let mut decisions: Vec<Decision> =
        events().flat_map(|event| one_by_one.decide([event], 0).unwrap()).collect();
    decisions.extend(one_by_one.advance(until).unwrap());
    assert_eq!(told(&decisions), told(&whole));
    let verdicts = verdicts(&whole).join("\n");
    for kind in ["a: passed", "until", "released", "cap day", "control holdout", "event-max"] {
        assert!(verdicts.contains(kind), "{kind} is missing");
    }
}

#[test]
fn releases_and_timers_of_one_moment_have_one_order_however_the_events_are_cut() {
    // At 23:00 each customer gets a message that waits until 09:00, and a timer that fires then.
    let actions = || vec![send("x"), schedule(10 * 3_600_000)];
    let new = || under(policies(NIGHT), &["b", "a"], actions());
    let (evening, nine) = (moscow("02T23:00:00"), moscow("03T09:00:00"));
    let event = |number| purchase(number, number, evening);
    let together = new().decide((1..=40).map(event), nine).unwrap();
    let mut one_by_one = new();
    let mut decisions: Vec<Decision> =
        (1..=40).rev().flat_map(|number| one_by_one.decide([event(number)], 0).unwrap()).collect();
    decisions.extend(one_by_one.advance(nine).unwrap());
    decisions.sort_by(Decision::in_order);
    assert_eq!(told(&decisions), told(&together));
    let of_nine: Vec<_> = together.iter().filter(|decision| decision.now == nine).collect();
    let kinds = of_nine.iter().map(|decision| match &decision.cause {
        Cause::Release { .. } => (decision.customer, ""),
        Cause::Timer { campaign, .. } => (decision.customer, &**campaign),
        Cause::Event { .. } => panic!(),
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds.len(), 3 * 40);
    assert!(kinds.is_sorted(), "by customer, a release before timers, and these by campaign");
}
