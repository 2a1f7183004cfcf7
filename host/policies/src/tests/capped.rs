//! Tests of the judgement: caps.

use super::*;

#[test]
fn a_cap_is_over_to_the_millisecond() {
    let policies = with_caps([cap("day", 1, Span::Rolling(DAY))]);
    let then = moscow("2026-03-01 12:00");
    let row = row_with([counted(then, "other", 7, SMS)]);
    assert_eq!(reason(&judge(&policies, &row, "push", then + DAY - 1)), Some(Reason::Cap));
    assert_eq!(judge(&policies, &row, "push", then + DAY), Verdict::Pass);
}

#[test]
fn a_cap_says_how_far_it_is_used_up() {
    let policies = with_caps([cap("day", 2, Span::Day)]);
    let mut stays = row_with([counted(moscow("2026-03-01 10:00"), "big-basket", 7, SMS)]);
    let sent = [
        counted(moscow("2026-03-01 08:00"), "big-basket", 8, SMS),
        counted(moscow("2026-03-01 11:00"), "big-basket", 9, Channel::Push),
    ];
    let gone = row_with(sent);
    let now = moscow("2026-03-01 12:00");
    let verdict = judge(&policies, &gone, "push", now);
    let text = "2 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push";
    assert_eq!(details(&verdict), (Some("day"), Some(text)));
    stays.unite(gone);
    let verdict = judge(&policies, &stays, "push", now);
    let text = "3 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push";
    assert_eq!((reason(&verdict), details(&verdict).1), (Some(Reason::Cap), Some(text)));
}

#[test]
fn the_messages_of_a_campaign_on_one_event_are_one_for_a_cap() {
    let policies = with_caps([cap("day", 1, Span::Day)]);
    let (mut row, ids, now) = (no_row(), ids(164), moscow("2026-03-01 12:00"));
    let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
    for channel in [Channel::Mail, Channel::Push, Channel::Sms] {
        let welcome = candidate(&ids, "welcome", channel, 1);
        assert_eq!(judge.judge(Some(&row), &welcome, At::Decision, now), Verdict::Pass);
        judge.sent(&mut row, &welcome);
    }
    let next = candidate(&ids, "win-back", SMS, 1);
    let verdict = judge.judge(Some(&row), &next, At::Decision, now);
    let text = "1 of 1 since 2026-03-01 00:00 +03:00; last: welcome mail, push, sms";
    assert_eq!(details(&verdict), (Some("day"), Some(text)));
    let next_event = candidate(&ids, "welcome", SMS, 2);
    let verdict = judge.judge(Some(&row), &next_event, At::Decision, now);
    assert_eq!(reason(&verdict), Some(Reason::Cap));
}

#[test]
fn a_cap_per_day_allows_one_before_and_one_after_midnight() {
    let policies = with_caps([cap("day", 1, Span::Day)]);
    let (mut row, ids) = (no_row(), ids(164));
    let mut send = |text: &str, number| {
        let now = moscow(text);
        let candidate = candidate(&ids, "push", SMS, number);
        let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
        let verdict = judge.judge(Some(&row), &candidate, At::Decision, now);
        if verdict == Verdict::Pass {
            judge.sent(&mut row, &candidate);
        }
        reason(&verdict)
    };
    assert_eq!(send("2026-03-01 23:30", 1), None);
    assert_eq!(send("2026-03-02 00:10", 2), None);
    assert_eq!(send("2026-03-02 23:59:59.999", 3), Some(Reason::Cap));
    assert_eq!(send("2026-03-03 00:00", 4), None);
}

#[test]
fn a_cap_per_day_allows_one_on_a_day_of_25_hours() {
    let policies = with_caps([cap("day", 1, Span::Day)]);
    let mut row = row_with([counted(utc("2026-10-24T22:10:00Z"), "other", 7, SMS)]);
    row.zone = Some("Europe/Berlin".into());
    let last = utc("2026-10-25T22:59:59.999Z");
    assert_eq!(reason(&judge(&policies, &row, "push", last)), Some(Reason::Cap));
    assert_eq!(judge(&policies, &row, "push", last + 1), Verdict::Pass);
}

#[test]
fn a_released_message_counts_on_the_day_of_its_release() {
    let policies = Policies { caps: vec![cap("day", 1, Span::Day)], ..with_night() };
    let (mut row, ids) = (no_row(), ids(164));
    let decided = moscow("2026-03-01 23:30");
    let (high, low) = (candidate(&ids, "high", SMS, 1), candidate(&ids, "low", SMS, 2));
    let mut judge = Judge::new(Some(&policies), "prod", decided, None);
    for candidate in [&high, &low] {
        let verdict = judge.judge(Some(&row), candidate, At::Decision, decided);
        assert!(matches!(verdict, Verdict::Defer { .. }));
        judge.deferred(candidate);
    }
    assert_eq!(row, no_row(), "what is deferred does not count");
    let nine = moscow("2026-03-02 09:00");
    let at = At::Release { discard_at: decided + 14 * HOUR };
    let mut judge = Judge::new(Some(&policies), "prod", nine, Some(&row));
    assert_eq!(judge.judge(Some(&row), &high, at, decided), Verdict::Pass);
    judge.sent(&mut row, &high);
    assert_eq!(reason(&judge.judge(Some(&row), &low, at, decided)), Some(Reason::Cap));
    assert_eq!(row.counted[0].at, nine);
}

#[test]
fn a_campaign_may_be_without_a_cap_and_still_count() {
    let mut policies = with_caps([cap("day", 1, Span::Day), cap("week", 2, Span::Week)]);
    set(&mut policies, "free", |policy| policy.without_caps = vec!["day".into()]);
    set(&mut policies, "silent", |policy| policy.counts = false);
    let (mut row, ids, now) = (no_row(), ids(164), moscow("2026-03-04 12:00"));
    let mut judge = Judge::new(Some(&policies), "prod", now, None);
    let mut send = |campaign, number| {
        let candidate = candidate(&ids, campaign, SMS, number);
        let verdict = judge.judge(Some(&row), &candidate, At::Decision, now);
        if verdict == Verdict::Pass {
            judge.sent(&mut row, &candidate);
        }
        reason(&verdict).map(|_| details(&verdict).0.unwrap().to_owned())
    };
    assert_eq!(send("silent", 1), None);
    assert_eq!(send("free", 2), None);
    assert_eq!(send("push", 3).as_deref(), Some("day"), "the free one counts, the silent not");
    assert_eq!(send("silent", 4).as_deref(), Some("day"), "it is capped all the same");
    assert_eq!(send("free", 5), None);
    assert_eq!(send("free", 6).as_deref(), Some("week"));
}

#[test]
fn nothing_is_counted_without_caps() {
    let (policies, ids) = (with_night(), ids(164));
    let mut row = no_row();
    let mut judge = Judge::new(Some(&policies), "prod", 0, None);
    judge.sent(&mut row, &candidate(&ids, "push", SMS, 1));
    assert_eq!(row, no_row());
}
