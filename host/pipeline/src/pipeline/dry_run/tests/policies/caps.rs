//! Caps: what counts, and in which span of time.

use super::*;

#[test]
fn a_rolling_cap_ends_to_the_millisecond() {
    let rolling = "[[cap]]\nname = \"once\"\nmax = 1\nper = \"24h\"";
    let now = at("2026-03-02T12:00:00Z");
    let events =
        [purchase(1, 1, now), purchase(2, 1, now + 86_399_999), purchase(3, 1, now + 86_400_000)];
    let decided = under(policies(rolling), &["a"], vec![send("x")]).decide(events, 0).unwrap();
    assert_eq!(verdicts(&decided), ["a: passed", "a: cap once", "a: passed"]);
}

#[test]
fn a_calendar_day_ends_at_midnight_and_may_have_25_hours() {
    let decided = |policies, times: &[&str]| {
        let events = (1..).zip(times).map(|(number, time)| purchase(number, 1, at(time)));
        verdicts(&under(policies, &["a"], vec![send("x")]).decide(events, 0).unwrap())
    };
    let times =
        ["2026-03-02T23:30:00+03:00", "2026-03-03T00:10:00+03:00", "2026-03-03T23:59:00+03:00"];
    let expected = ["a: passed", "a: passed", "a: cap day"];
    assert_eq!(decided(policies(DAY_ONCE), &times), expected);
    let times =
        ["2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59.999+01:00", "2026-10-26T00:00:00+01:00"];
    let expected = ["a: passed", "a: cap day", "a: passed"];
    assert_eq!(decided(in_zone("Europe/Berlin", DAY_ONCE), &times), expected);
}

#[test]
fn everything_that_one_campaign_sends_on_one_event_counts_once() {
    let actions = [Channel::Mail, Channel::Push, Channel::Sms].map(|on| send_on(on, "x")).to_vec();
    let now = at("2026-03-02T12:00:00Z");
    let decided =
        under(policies(DAY_ONCE), &["a", "b"], actions).decide([purchase(1, 1, now)], 0).unwrap();
    assert_eq!(
        verdicts(&decided),
        ["a: passed", "a: passed", "a: passed", "b: cap day", "b: cap day", "b: cap day"]
    );
}

#[test]
fn of_two_deferred_messages_the_cap_of_the_morning_lets_the_higher_priority_pass() {
    let text = format!("{NIGHT}{DAY_ONCE}[campaigns.b]\npriority = 20");
    let mut dry_run = under(policies(&text), &["a", "b"], vec![send("x")]);
    let now = at("2026-03-02T23:30:00+03:00");
    dry_run.decide([purchase(1, 1, now)], now).unwrap();
    let released = dry_run.advance(at("2026-03-03T09:00:00+03:00")).unwrap();
    assert_eq!(verdicts(&released), ["released b: passed", "released a: cap day"]);
    let noon = at("2026-03-03T12:00:00+03:00");
    let decided = dry_run.decide([purchase(2, 1, noon)], noon).unwrap();
    assert_eq!(verdicts(&decided), ["a: cap day", "b: cap day"], "it counts on the day of release");
}
