//! Tests of caps: what they count, and what a row keeps for them.

use std::collections::HashSet;

use jiff::civil::Date;
use proptest::prelude::*;

use super::*;
use crate::zone::wall_clock;

const ROLLING_DAY: Span = Span::Rolling(DAY);

/// The number of dispatches that a cap counts in Moscow.
fn used(cap: &Cap, row: &PolicyRow, now: Millis) -> usize {
    cap.usage(row, None, &zone("Europe/Moscow"), now).others
}

#[test]
fn a_rolling_window_excludes_its_start() {
    let row = row_with([counted(1000, "a", 1, Channel::Sms)]);
    let cap = cap("c", 1, ROLLING_DAY);
    assert_eq!(used(&cap, &row, 1000 + DAY - 1), 1);
    assert_eq!(used(&cap, &row, 1000 + DAY), 0);
    assert_eq!(used(&cap, &row, 1000), 1);
    assert_eq!(used(&cap, &row, 0), 1, "the clock was set back");
}

#[test]
fn a_day_begins_at_midnight_of_the_customer() {
    let cap = cap("c", 1, Span::Day);
    let row = row_with([counted(moscow("2026-03-01 23:30"), "a", 1, Channel::Sms)]);
    assert_eq!(used(&cap, &row, moscow("2026-03-01 23:59:59.999")), 1);
    assert_eq!(used(&cap, &row, moscow("2026-03-02 00:00")), 0);
    let row = row_with([counted(moscow("2026-03-02 00:00"), "a", 1, Channel::Sms)]);
    assert_eq!(used(&cap, &row, moscow("2026-03-02 23:59")), 1, "midnight belongs to the day");
}

#[test]
fn a_day_of_25_hours_is_one_day() {
    let (cap, berlin) = (cap("c", 1, Span::Day), zone("Europe/Berlin"));
    let row = row_with([counted(utc("2026-10-24T22:00:00Z"), "a", 1, Channel::Sms)]);
    let used = |now| cap.usage(&row, None, &berlin, utc(now)).others;
    assert_eq!(used("2026-10-25T22:59:59.999Z"), 1);
    assert_eq!(used("2026-10-25T23:00:00Z"), 0);
}

#[test]
fn a_week_begins_on_monday_and_a_month_on_its_first() {
    let (week, month) = (cap("c", 1, Span::Week), cap("c", 1, Span::Month));
    let now = moscow("2026-03-04 12:00");
    let used = |cap, text| used(cap, &row_with([counted(moscow(text), "a", 1, Channel::Sms)]), now);
    assert_eq!(used(&week, "2026-03-02 00:00"), 1);
    assert_eq!(used(&week, "2026-03-01 23:59:59.999"), 0);
    assert_eq!(used(&month, "2026-03-01 00:00"), 1);
    assert_eq!(used(&month, "2026-02-28 23:59:59.999"), 0);
    let monday = moscow("2026-03-02 00:00");
    assert_eq!(
        week.usage(&PolicyRow::default(), None, &zone("Europe/Moscow"), monday).since,
        monday
    );
}

#[test]
fn what_a_campaign_sends_on_one_event_counts_once() {
    let row = row_with([
        counted(1, "a", 1, Channel::Mail),
        counted(2, "a", 1, Channel::Sms),
        counted(3, "a", 2, Channel::Sms),
        counted(4, "b", 2, Channel::Push),
        counted(5, "a", 1, Channel::Push),
    ]);
    let cap = cap("c", 1, ROLLING_DAY);
    let usage = |mine| cap.usage(&row, mine, &zone("UTC"), 5);
    assert_eq!(usage(None).others, 3);
    assert_eq!(usage(None).last, Some(&row.counted[4]));
    let others = usage(Some((event(1), "a")));
    assert_eq!((others.others, others.last), (2, Some(&row.counted[3])));
}

#[test]
fn a_cap_counts_its_campaigns_and_channels_only() {
    let mut cap = cap("c", 1, ROLLING_DAY);
    cap.campaigns = Some(names(&["a", "b"]));
    cap.channels = Channels::from_iter([Channel::Sms, Channel::Viber]);
    let row = row_with([
        counted(1, "a", 1, Channel::Mail),
        counted(2, "b", 2, Channel::Viber),
        counted(3, "c", 3, Channel::Sms),
    ]);
    assert_eq!(used(&cap, &row, 5), 1);
}

#[test]
fn the_messages_of_one_moment_share_an_entry() {
    let mut row = PolicyRow::default();
    row.count(counted(2, "a", 1, Channel::Mail));
    row.count(counted(2, "b", 1, Channel::Mail));
    row.count(counted(2, "a", 1, Channel::Sms));
    row.count(counted(1, "a", 1, Channel::Sms));
    let entries: Vec<_> =
        row.counted.iter().map(|entry| (entry.at, &*entry.campaign, entry.channels)).collect();
    let (mail, sms) = (Channel::Mail, Channel::Sms);
    let expected = [
        (1, "a", Channels::from_iter([sms])),
        (2, "a", Channels::from_iter([mail, sms])),
        (2, "b", Channels::from_iter([mail])),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn a_merge_counts_what_was_sent_to_either() {
    let sent = |at, number| counted(at, "a", number, Channel::Sms);
    let mut stays = row_with([sent(2, 2)]);
    stays.unite(row_with([sent(1, 1), sent(2, 2), sent(3, 3)]));
    assert_eq!(stays, row_with([sent(1, 1), sent(2, 2), sent(3, 3)]));
}

#[test]
fn a_row_keeps_32_entries_of_31_days_for_caps_to_come() {
    let now = 400 * DAY;
    let ages = (0..40).map(|number| counted(now - DAY + number, "a", number, Channel::Sms));
    let mut row = row_with(ages);
    assert!(row.prune(&no_policies(), now));
    assert_eq!(row.counted.len(), 32);
    assert_eq!(row.counted[0].at, now - DAY + 8, "the oldest go");
    assert!(!row.prune(&no_policies(), now));
    let mut row = row_with([0, 1, 2].map(|ms| counted(now - 31 * DAY + ms, "a", ms, Channel::Sms)));
    assert!(row.prune(&no_policies(), now));
    assert_eq!(row.counted.len(), 2, "31 days are the limit");
}

#[test]
fn a_row_keeps_what_a_long_cap_needs() {
    let now = 400 * DAY;
    let once =
        Cap { campaigns: Some(names(&["birthday"])), ..cap("once", 1, Span::Rolling(300 * DAY)) };
    let mut row = row_with([
        counted(now - 300 * DAY, "birthday", 1, Channel::Sms),
        counted(now - 299 * DAY, "birthday", 2, Channel::Sms),
        counted(now - 200 * DAY, "birthday", 3, Channel::Sms),
        counted(now - 200 * DAY, "other", 3, Channel::Sms),
        counted(now - 100 * DAY, "birthday", 4, Channel::Sms),
    ]);
    assert!(row.prune(&with_caps([once]), now));
    let kept: Vec<_> = row.counted.iter().map(|entry| entry.event).collect();
    assert_eq!(kept, [event(3), event(4)], "one for the cap, one that may be judged itself");
}

/// One message that a rule proposes: hours since the one before, campaign, event, channel.
type Proposal = (u32, usize, i64, usize);

const CAMPAIGNS: [&str; 4] = ["a", "b", "free", "silent"];

fn any_caps() -> impl Strategy<Value = Vec<Cap>> {
    let spans = [Span::Day, Span::Week, Span::Month, ROLLING_DAY, Span::Rolling(40 * DAY)];
    let channels = prop::sample::subsequence(Channel::ALL.to_vec(), 1..=6);
    let campaigns = prop::option::of(prop::sample::subsequence(CAMPAIGNS.to_vec(), 1..4));
    let parts = (1..4_u32, prop::sample::select(spans.to_vec()), channels, campaigns);
    let caps = parts.prop_map(|(max, per, channels, campaigns)| Cap {
        channels: channels.into_iter().collect(),
        campaigns: campaigns.map(|campaigns| names(&campaigns)),
        ..cap("cap", max, per)
    });
    prop::collection::vec(caps, 1..4)
}

/// Whether a moment lies in the window of a cap, by the fields of the wall clock.
fn is_in_window(per: Span, zone: &TimeZone, at: Millis, now: Millis) -> bool {
    let week_of = |date: Date| (date.iso_week_date().year(), date.iso_week_date().week());
    let (then, today) = (wall_clock(zone, at).date(), wall_clock(zone, now).date());
    match per {
        Span::Day => then == today,
        Span::Week => week_of(then) == week_of(today),
        Span::Month => (then.year(), then.month()) == (today.year(), today.month()),
        Span::Rolling(span) => now - span < at,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The verdicts are those of a log that forgets nothing.
    #[test]
    fn verdicts_on_a_pruned_row_are_those_by_brute_force(
        caps in any_caps(),
        zone_name in prop::sample::select(vec!["Europe/Berlin", "Australia/Lord_Howe", "+05:45"]),
        proposals in prop::collection::vec((0..40_u32, 0..4_usize, 0..30_i64, 0..6_usize), 0..120),
    ) {
        let mut policies = with_caps(caps);
        set(&mut policies, "free", |policy| policy.without_caps = vec!["cap".into()]);
        set(&mut policies, "silent", |policy| policy.counts = false);
        let zone = zone(zone_name);
        let mut row = PolicyRow { zone: Some(zone_name.into()), ..PolicyRow::default() };
        let mut log: Vec<Counted> = Vec::new();
        let (mut now, ids) = (utc("2026-03-20T12:34:56.789Z"), ids(164));
        for (hours, campaign, number, channel) in proposals as Vec<Proposal> {
            now += Millis::from(hours) * HOUR;
            let (campaign, channel) = (CAMPAIGNS[campaign], Channel::ALL[channel]);
            let candidate = candidate(&ids, campaign, channel, number);
            let is_over = |cap: &Cap| {
                let others: HashSet<_> = log
                    .iter()
                    .filter(|entry| is_in_window(cap.per, &zone, entry.at, now))
                    .filter(|entry| {
                        entry.channels.iter().any(|on| cap.concerns(&entry.campaign, on))
                    })
                    .map(|entry| (entry.event, &*entry.campaign))
                    .filter(|dispatch| *dispatch != (event(number), campaign))
                    .collect();
                others.len() >= cap.max as usize
            };
            let is_capped = campaign != "free"
                && policies.caps.iter().any(|cap| cap.concerns(campaign, channel) && is_over(cap));
            let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
            let verdict = judge.judge(Some(&row), &candidate, At::Decision, now);
            prop_assert_eq!(reason(&verdict), is_capped.then_some(Reason::Cap));
            if !is_capped {
                judge.sent(&mut row, &candidate);
                if campaign != "silent" {
                    log.push(counted(now, campaign, number, channel));
                }
            }
            prop_assert!(row.counted.is_sorted_by_key(|entry| entry.at));
            prop_assert!(row.counted.len() <= 32 + 3 * 4);
        }
    }

    /// With a clock that runs, no window ever has more dispatches than the cap allows.
    #[test]
    fn a_cap_is_never_exceeded(
        max in 1..4_u32,
        per in prop::sample::select(vec![Span::Day, Span::Week, Span::Month, ROLLING_DAY]),
        proposals in prop::collection::vec((0..30_u32, 0..2_usize, 0..40_i64, 0..6_usize), 0..120),
    ) {
        let policies = with_caps([cap("cap", max, per)]);
        let berlin = zone("Europe/Berlin");
        let mut row = PolicyRow { zone: Some("Europe/Berlin".into()), ..PolicyRow::default() };
        let mut sent: Vec<(Millis, i64, usize)> = Vec::new();
        let (mut now, ids) = (utc("2026-03-20T12:34:56.789Z"), ids(164));
        for (hours, campaign, number, channel) in proposals as Vec<Proposal> {
            now += Millis::from(hours) * HOUR;
            let candidate = candidate(&ids, CAMPAIGNS[campaign], Channel::ALL[channel], number);
            let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
            if judge.judge(Some(&row), &candidate, At::Decision, now) == Verdict::Pass {
                judge.sent(&mut row, &candidate);
                sent.push((now, number, campaign));
            }
            let in_window: HashSet<_> = sent
                .iter()
                .filter(|(at, ..)| is_in_window(per, &berlin, *at, now))
                .map(|(_, number, campaign)| (number, campaign))
                .collect();
            prop_assert!(in_window.len() <= max as usize);
        }
    }
}
