//! Quiet hours: when they hold, and when a message that they defer is sent.

use super::*;

#[test]
fn a_message_of_the_night_is_sent_when_the_night_ends_under_the_id_of_its_decision() {
    let now = at("2026-03-02T23:30:00+03:00");
    let events = || [purchase(1, 1, now)];
    let free = under(policies(""), &["a"], vec![send("x")]).decide(events(), now).unwrap();
    let mut dry_run = under(policies(NIGHT), &["a"], vec![send("x")]);
    let decided = dry_run.decide(events(), now).unwrap();
    assert_eq!(verdicts(&decided), ["a: until 2026-03-03T06:00:00Z night"]);
    assert!(ids(&decided).is_empty());
    let early = dry_run.advance(at("2026-03-03T08:59:59.999+03:00")).unwrap();
    assert!(early.is_empty(), "{early:?}");
    let morning = at("2026-03-03T09:00:00+03:00");
    let released = dry_run.advance(morning).unwrap();
    assert_eq!(verdicts(&released), ["released a: passed"]);
    assert_eq!(ids(&released), ids(&free));
    assert_eq!(released[0].communications[0].created_ms, morning);
    assert!(dry_run.advance(morning + 86_400_000).unwrap().is_empty(), "it is sent once");
}

#[test]
fn the_night_begins_with_its_first_minute() {
    let mut dry_run = under(policies(NIGHT), &["a"], vec![send("x")]);
    let events = [purchase(1, 1, moscow("02T21:59:59.999")), purchase(2, 1, moscow("02T22:00:00"))];
    let decided = dry_run.decide(events, 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed", "a: until 2026-03-03T06:00:00Z night"]);
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let text = NIGHT.replace("then", "days = [\"fri\", \"sat\"]\nthen");
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let [friday, sunday] = ["06T03:00:00", "08T03:00:00"].map(moscow);
    let decided = dry_run.decide([purchase(1, 1, friday), purchase(2, 1, sunday)], 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed", "a: until 2026-03-08T06:00:00Z night"]);
}

#[test]
fn hours_whose_end_the_clock_skips_end_after_the_gap() {
    let text = NIGHT.replace("09:00", "02:30");
    let mut dry_run = under(in_zone("Europe/Berlin", &text), &["a"], vec![send("x")]);
    let now = at("2026-03-29T01:30:00+01:00");
    let decided = dry_run.decide([purchase(1, 1, now)], now).unwrap();
    assert_eq!(verdicts(&decided), ["a: until 2026-03-29T01:00:00Z night"]);
    let three = at("2026-03-29T03:00:00+02:00");
    assert!(dry_run.advance(three - 1).unwrap().is_empty());
    assert_eq!(verdicts(&dry_run.advance(three).unwrap()), ["released a: passed"]);
}

#[test]
fn an_hour_that_the_clock_shows_twice_is_quiet_twice() {
    let text = NIGHT.replace("09:00", "02:30");
    let mut dry_run = under(in_zone("Europe/Berlin", &text), &["a"], vec![send("x")]);
    let events = [
        purchase(1, 1, at("2026-10-25T02:40:00+02:00")),
        purchase(2, 1, at("2026-10-25T02:10:00+01:00")),
    ];
    let decided = dry_run.decide(events, at("2026-10-25T01:30:00Z")).unwrap();
    assert_eq!(
        verdicts(&decided),
        ["a: passed", "a: until 2026-10-25T01:30:00Z night", "released a: passed"]
    );
}

#[test]
fn a_customer_without_a_zone_has_that_of_the_file() {
    let text = format!("time_zone_attribute = \"TimeZone\"\n{NIGHT}");
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let evening = moscow("02T22:30:00");
    let events = [
        zone(1, 2, "Europe/Kaliningrad", evening - 2),
        zone(2, 3, "Nowhere/Else", evening - 1),
        purchase(3, 1, evening),
        purchase(4, 2, evening),
        purchase(5, 3, evening),
    ];
    let decided = dry_run.decide(events, 0).unwrap();
    let until = "a: until 2026-03-03T06:00:00Z night";
    assert_eq!(verdicts(&decided), [until, "a: passed", until]);
}

#[test]
fn a_message_follows_the_customers_zone_until_its_release() {
    let text = format!("time_zone_attribute = \"TimeZone\"\n{NIGHT}");
    let mut dry_run = under(policies(&text), &["a"], vec![send("x")]);
    let (evening, later) = (at("2026-03-02T23:30:00+06:00"), at("2026-03-03T01:00:00+06:00"));
    let decided = dry_run.decide(
        [
            zone(1, 1, "Asia/Omsk", evening - 1),
            purchase(2, 1, evening),
            zone(3, 1, "Europe/Kaliningrad", later),
        ],
        at("2026-03-03T03:00:00Z"),
    );
    assert_eq!(
        verdicts(&decided.unwrap()),
        ["a: until 2026-03-03T03:00:00Z night", "released a: until 2026-03-03T07:00:00Z night"]
    );
    let released = dry_run.advance(at("2026-03-03T07:00:00Z")).unwrap();
    assert_eq!(verdicts(&released), ["released a: passed"]);
}
