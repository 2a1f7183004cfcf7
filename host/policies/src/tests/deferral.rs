//! Tests of the judgement: quiet hours, deferral and release.

use super::*;
use crate::QuietChoice;

#[test]
fn a_message_at_night_is_deferred_until_the_morning() {
    let night = with_night();
    let judged = |text| judge(&night, &no_row(), "push", moscow(text));
    let nine = moscow("2026-03-02 09:00");
    let deferred = Verdict::Defer {
        policy: "night".into(),
        until: nine,
        discard_at: moscow("2026-03-02 13:30"),
    };
    assert_eq!(judged("2026-03-01 23:30"), deferred);
    assert_eq!(until(&judged("2026-03-01 22:00")), nine);
    assert_eq!(judged("2026-03-01 21:59:59.999"), Verdict::Pass);
    let released = |now| release(&night, &no_row(), "push", now, moscow("2026-03-02 13:30"));
    assert_eq!(until(&released(nine - 1)), nine, "quiet to the last moment");
    assert_eq!(released(nine), Verdict::Pass);
}

#[test]
fn quiet_hours_are_those_of_the_customers_zone() {
    let (night, omsk) = (with_night(), in_zone("Asia/Omsk"));
    let now = utc("2026-03-01T20:00:00Z");
    let Verdict::Defer { until, discard_at, .. } = judge(&night, &omsk, "push", now) else {
        panic!()
    };
    assert_eq!(until, utc("2026-03-02T03:00:00Z"), "09:00 in Omsk");
    // The customer has moved to Kaliningrad meanwhile.
    let verdict = release(&night, &in_zone("Europe/Kaliningrad"), "push", until, discard_at);
    let again =
        Verdict::Defer { policy: "night".into(), until: utc("2026-03-02T07:00:00Z"), discard_at };
    assert_eq!(verdict, again);
    let verdict = judge(&night, &in_zone("nonsense"), "push", now);
    assert_eq!(super::until(&verdict), utc("2026-03-02T06:00:00Z"), "Moscow's");
}

#[test]
fn a_release_that_would_be_too_late_is_suppressed_at_once() {
    let mut policies = with_night();
    set(&mut policies, "nudge", |policy| policy.discard_after_ms = Some(3 * HOUR));
    let verdict = judge(&policies, &no_row(), "nudge", moscow("2026-03-01 23:40"));
    assert_eq!(reason(&verdict), Some(Reason::QuietHours));
    let text = "until 2026-03-02 09:00 +03:00 would be later than 3h after the decision";
    assert_eq!(details(&verdict), (Some("night"), Some(text)));
    let nine = moscow("2026-03-02 09:00");
    for (early_ms, is_deferred) in [(0, true), (1, false)] {
        let verdict = judge(&policies, &no_row(), "nudge", nine - 3 * HOUR - early_ms);
        assert_eq!(matches!(verdict, Verdict::Defer { .. }), is_deferred, "{early_ms}");
    }
}

#[test]
fn the_time_of_the_decision_counts_for_the_age() {
    let (policies, ids) = (with_night(), ids(164));
    let now = moscow("2026-03-02 03:00");
    let judge = Judge::new(Some(&policies), "prod", now, None);
    let judged = |decided| {
        reason(&judge.judge(None, &candidate(&ids, "push", SMS, 1), At::Decision, decided))
    };
    assert_eq!(judged(moscow("2026-03-01 19:00")), None);
    assert_eq!(judged(moscow("2026-03-01 18:59")), Some(Reason::QuietHours));
}

#[test]
fn what_becomes_late_after_its_deferral_is_stale() {
    let night = with_night();
    let nine = moscow("2026-03-02 09:00");
    assert_eq!(release(&night, &no_row(), "push", nine, nine), Verdict::Pass);
    let late = release(&night, &no_row(), "push", nine + 1, nine);
    assert_eq!((reason(&late), details(&late)), (Some(Reason::Stale), (None, None)));
    // In Kaliningrad it is 08:00, and 09:00 would be too late.
    let late = release(&night, &in_zone("Europe/Kaliningrad"), "push", nine, nine + HOUR - 1);
    assert_eq!((reason(&late), details(&late).0), (Some(Reason::Stale), Some("night")));
    let again = release(&night, &in_zone("Europe/Kaliningrad"), "push", nine, nine + HOUR);
    assert_eq!(until(&again), nine + HOUR);
}

#[test]
fn a_campaign_replaces_what_quiet_hours_do() {
    let mut policies = with_night();
    policies
        .quiet_hours
        .push(QuietHours { defers: false, ..quiet("lunch", "12:00", "13:00", &DAYS) });
    for (campaign, choice) in [
        ("defer", QuietChoice::Defer),
        ("drop", QuietChoice::Drop),
        ("ignore", QuietChoice::Ignore),
    ] {
        set(&mut policies, campaign, |policy| policy.quiet_hours = Some(choice));
    }
    let judged = |campaign, text| judge(&policies, &no_row(), campaign, moscow(text));
    for text in ["2026-03-01 03:00", "2026-03-01 12:30"] {
        assert!(matches!(judged("defer", text), Verdict::Defer { .. }), "{text}");
        assert_eq!(reason(&judged("drop", text)), Some(Reason::QuietHours), "{text}");
        assert_eq!(judged("ignore", text), Verdict::Pass, "{text}");
    }
    let lunch = judged("push", "2026-03-01 12:30");
    assert_eq!(
        (reason(&lunch), details(&lunch)),
        (Some(Reason::QuietHours), (Some("lunch"), None))
    );
    assert!(matches!(judged("push", "2026-03-01 03:00"), Verdict::Defer { .. }));
}

#[test]
fn releases_are_spread_over_customers() {
    let mut policies = with_night();
    policies.deferral = Some(Deferral { discard_after_ms: 14 * HOUR, spread_ms: 30 * MINUTE });
    let (now, nine) = (moscow("2026-03-02 03:00"), moscow("2026-03-02 09:00"));
    let judge = Judge::new(Some(&policies), "prod", now, None);
    let offset = |number| {
        let ids = ids(number);
        let verdict = judge.judge(None, &candidate(&ids, "push", SMS, 1), At::Decision, now);
        until(&verdict) - nine
    };
    let offsets: Vec<_> = (0..1000).map(offset).collect();
    assert!(offsets.iter().all(|offset| (0..30 * MINUTE).contains(offset)));
    let early = offsets.iter().filter(|offset| **offset < 15 * MINUTE).count();
    assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    // It must not change with a version: a release that was moved would be deferred again.
    assert_eq!(offsets[..3], [706_545, 456_683, 1_364_568]);
}

#[test]
fn a_release_that_the_spread_moves_into_quiet_hours_is_not_spread() {
    let mut policies = with_night();
    policies.quiet_hours.push(quiet("day", "09:01", "21:00", &DAYS));
    policies.deferral = Some(Deferral { discard_after_ms: DAY, spread_ms: 10 * HOUR });
    let (now, nine) = (moscow("2026-03-02 03:00"), moscow("2026-03-02 09:00"));
    let judge = Judge::new(Some(&policies), "prod", now, None);
    let count = (0..100)
        .filter(|number| {
            let ids = ids(*number);
            let verdict = judge.judge(None, &candidate(&ids, "push", SMS, 1), At::Decision, now);
            until(&verdict) == nine
        })
        .count();
    assert!(count > 90, "{count}");
}
