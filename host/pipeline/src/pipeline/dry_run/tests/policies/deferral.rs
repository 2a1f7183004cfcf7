//! Deferred messages: how long they wait, how many there may be, and what ends the waiting.

use super::*;
use crate::pipeline::deferrals::Deferrals;
use crate::pipeline::poison::{InFlightId, PoisonGuard};
use crate::records::TimerKey;

#[test]
fn an_event_of_cancel_on_drops_deferred_messages_whether_a_rule_takes_it_or_not() {
    let text = format!("{NIGHT}\n[campaigns.a]\ncancel_on = [\"OnEndRegistration\"]");
    let mut dry_run = under(policies(&text), &["a", "b"], vec![send("x")]);
    let night = at("2026-03-02T23:30:00+03:00");
    let events = [purchase(1, 1, night), with_code(2, 1, "OnEndRegistration", night + 1)];
    let decided = dry_run.decide(events, night + 1).unwrap();
    assert_eq!(
        verdicts(&decided),
        [
            "a: until 2026-03-03T06:00:00Z night",
            "b: until 2026-03-03T06:00:00Z night",
            "released a: cancelled"
        ]
    );
    let released = dry_run.advance(at("2026-03-03T09:00:00+03:00")).unwrap();
    assert_eq!(verdicts(&released), ["released b: passed"]);
}

#[test]
fn only_the_codes_of_cancel_on_cancel_and_not_their_opposites() {
    let text = format!("{NIGHT}\n[campaigns.a]\ncancel_on = [\"OnBlockCard\"]");
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let night = moscow("02T23:30:00");
    let events = [
        purchase(1, 1, night),
        with_code(2, 1, "OnUnblockCard", night + 1),
        with_code(3, 1, "OnBlockCard", night + 2),
    ];
    let decided = dry_run.decide(events, moscow("03T12:00:00")).unwrap();
    let expected = ["a: until 2026-03-03T06:00:00Z night", "released a: cancelled"];
    assert_eq!(verdicts(&decided), expected);
    assert_eq!(decided.last().unwrap().number, Some(3));
}

#[test]
fn a_message_that_would_come_too_late_is_not_deferred() {
    let text = format!("{NIGHT}\n[campaigns.a]\ndiscard_after = \"3h\"");
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let (early, late) = (at("2026-03-02T23:40:00+03:00"), at("2026-03-03T06:30:00+03:00"));
    let decided = dry_run.decide([purchase(1, 1, early), purchase(2, 1, late)], late).unwrap();
    assert_eq!(verdicts(&decided), ["a: quiet-hours night", "a: until 2026-03-03T06:00:00Z night"]);
}

#[test]
fn a_customer_has_at_most_so_many_deferred_messages() {
    let now = at("2026-03-02T23:30:00+03:00");
    let events = (0..=crate::records::DEFERRED_MAX as u64).map(|number| purchase(number, 1, now));
    let mut dry_run = under(policies(NIGHT), &["a"], vec![send("x")]);
    let decided = verdicts(&dry_run.decide(events, now).unwrap());
    assert_eq!(decided.iter().filter(|verdict| verdict.contains("until")).count(), 64);
    assert_eq!(decided.last().unwrap(), "a: deferral-full night");
}

#[test]
fn neither_a_full_store_nor_a_full_hour_takes_the_place_of_the_other() {
    let night = NIGHT.replace("09:00", "22:30");
    let limited = campaign_with("a", vec![send("x")], |spec| spec.per_hour_max = Some(2));
    let mut dry_run = under_rules(policies(&night), vec![limited]);
    dry_run.runner.core().limits.deferrals = Deferrals::new(0, 1);
    let events = [
        purchase(1, 1, moscow("02T22:10:00")),
        purchase(2, 2, moscow("02T22:11:00")),
        purchase(3, 3, moscow("02T22:40:00")),
        purchase(4, 4, moscow("02T22:41:00")),
    ];
    // The message for which the store has no room takes no place of the hour.
    let until = "a: until 2026-03-02T19:30:00Z night";
    assert_eq!(
        verdicts(&dry_run.decide(events, 0).unwrap()),
        [until, "a: deferral-full night", "released a: passed", "a: passed", "a: per-hour-max"]
    );
    let limited = campaign_with("a", vec![send("x")], |spec| spec.per_hour_max = Some(1));
    let mut dry_run = under_rules(policies(&night), vec![limited, campaign("b", vec![send("x")])]);
    dry_run.runner.core().limits.deferrals = Deferrals::new(0, 3);
    let events = (1..=3).map(|number| purchase(number, number, moscow("02T22:10:00")));
    // The message for which the hour has no room takes no place of the store.
    let until_b = "b: until 2026-03-02T19:30:00Z night";
    assert_eq!(
        verdicts(&dry_run.decide(events, 0).unwrap()),
        [
            until,
            until_b,
            "a: per-hour-max",
            until_b,
            "a: deferral-full night",
            "b: deferral-full night"
        ]
    );
}

#[test]
fn eight_hundred_messages_of_a_night_do_not_fill_the_hour_of_their_release() {
    let limited = campaign_with("a", vec![send("x")], |spec| spec.per_hour_max = Some(500));
    let mut dry_run = under_rules(policies(NIGHT), vec![limited]);
    let evening = moscow("02T22:30:00");
    let events =
        (0..800).map(|number| purchase(number, number, evening + number as Millis * 4_500));
    let decided = verdicts(&dry_run.decide(events, evening + 3_600_000).unwrap());
    let until = "a: until 2026-03-03T06:00:00Z night";
    assert_eq!((decided.len(), decided.iter().all(|one| one == until)), (800, true));
    let released = verdicts(&dry_run.advance(moscow("03T09:00:00")).unwrap());
    let passed = released.iter().filter(|one| **one == "released a: passed").count();
    assert_eq!((passed, released.len()), (800, 800));
    let noon = [purchase(900, 900, moscow("03T09:01:00"))];
    assert_eq!(verdicts(&dry_run.decide(noon, 0).unwrap()), ["a: passed"]);
}

#[test]
fn a_release_that_ended_the_engine_each_time_is_given_up_and_everything_else_goes_on() {
    let mut dry_run = under(policies(NIGHT), &["a"], vec![send("x")]);
    let evening = moscow("02T23:30:00");
    dry_run.decide([purchase(1, 1, evening), purchase(2, 2, evening)], evening).unwrap();
    let nine = moscow("03T09:00:00");
    let poison = TimerKey::release(key(1), nine);
    let guard = PoisonGuard::with_suspect(InFlightId::of_timer(&poison));
    dry_run.runner.core().limits.poison = Arc::new(guard);
    let events = [purchase(3, 1, nine + 1)];
    let decided = dry_run.decide(events, moscow("03T13:30:00")).unwrap();
    assert_eq!(verdicts(&decided), ["released a: passed", "a: passed"]);
    assert_eq!([decided[0].customer, decided[1].customer], [Some(key(2)), Some(key(1))]);
    let late = dry_run.advance(moscow("03T13:30:01")).unwrap();
    assert_eq!(verdicts(&late), ["released a: stale"]);
    assert!(dry_run.advance(moscow("09T00:00:00")).unwrap().is_empty());
}
