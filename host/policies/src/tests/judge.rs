//! Tests of the judgement: the reasons and their order, and which policies concern a message.

use proptest::prelude::*;

use super::*;
use crate::{Consent, ConsentSource};

fn with_answer(subscription: &str, is_yes: bool, source: ConsentSource) -> PolicyRow {
    let subscription = subscription.into();
    let at = moscow("2026-02-01 10:00");
    let consent = Consent { subscription, channel: SMS as u8, is_yes, at, source };
    PolicyRow { consents: vec![consent], ..PolicyRow::default() }
}

/// Policies and a row for which every reason holds that can.
fn everything_refuses() -> (Policies, PolicyRow) {
    let mut policies = Policies {
        consent: with_consent().consent,
        caps: vec![cap("day", 1, Span::Day)],
        control: vec![group("holdout", "2026", 10_000)],
        event_campaigns_max: Some(1),
        ..with_night()
    };
    policies.quiet_hours[0].defers = false;
    policies.allow_lists.insert("staging".into(), names(&["101"]));
    let mut row = with_answer("Mailings", false, ConsentSource::Import);
    row.counted.push(counted(moscow("2026-03-02 00:30"), "other", 2, SMS));
    (policies, row)
}

const NIGHT: &str = "2026-03-02 03:00";

#[test]
fn the_first_reason_wins() {
    let (mut policies, mut row) = everything_refuses();
    let (now, ids) = (moscow(NIGHT), ids(164));
    let mut candidate =
        Candidate { is_live: false, recipient: None, ..candidate(&ids, "push", SMS, 1) };
    let judged = |policies: &Policies, row: &PolicyRow, candidate: &Candidate<'_>| {
        let mut judge = Judge::new(Some(policies), "staging", now, Some(row));
        judge.deferred(&Candidate { campaign: "another", ..*candidate });
        reason(&judge.judge(Some(row), candidate, At::Decision, now))
    };
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::Shadow));
    candidate.is_live = true;
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::NoRecipient));
    candidate.recipient = Some(&ids);
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::NotListed));
    policies.allow_lists.insert("staging".into(), names(&["101", "164"]));
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::ConsentOff));
    row.consents.clear();
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::ConsentUnknown));
    policies.consent = None;
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::Control));
    policies.control.clear();
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::EventMax));
    policies.event_campaigns_max = Some(2);
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::QuietHours));
    policies.quiet_hours.clear();
    assert_eq!(judged(&policies, &row, &candidate), Some(Reason::Cap));
    policies.caps.clear();
    assert_eq!(judged(&policies, &row, &candidate), None);
}

#[test]
fn at_a_release_age_is_first_and_the_event_matters_no_more() {
    let (mut policies, row) = everything_refuses();
    let (now, ids) = (moscow(NIGHT), ids(164));
    let mut candidate = Candidate { is_live: false, ..candidate(&ids, "push", SMS, 1) };
    let judged = |policies: &Policies, candidate: &Candidate<'_>, discard_at| {
        let mut judge = Judge::new(Some(policies), "staging", now, Some(&row));
        judge.deferred(&Candidate { campaign: "another", ..*candidate });
        let at = At::Release { discard_at };
        reason(&judge.judge(Some(&row), candidate, at, now - DAY))
    };
    assert_eq!(judged(&policies, &candidate, now - 1), Some(Reason::Stale));
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::Shadow));
    candidate.is_live = true;
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::NotListed));
    policies.allow_lists.clear();
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::ConsentOff));
    policies.consent = None;
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::Control));
    policies.control.clear();
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::QuietHours));
    policies.quiet_hours.clear();
    assert_eq!(judged(&policies, &candidate, now), Some(Reason::Cap));
    policies.caps.clear();
    assert_eq!(judged(&policies, &candidate, now), None);
}

#[test]
fn a_transactional_message_passes_at_night_and_counts_nowhere() {
    let (mut policies, mut row) = everything_refuses();
    policies.allow_lists.clear();
    set(&mut policies, "card-security", |policy| {
        policy.is_transactional = true;
        policy.counts = false;
    });
    let (now, ids, before) = (moscow(NIGHT), ids(164), row.clone());
    let candidate = candidate(&ids, "card-security", SMS, 1);
    let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
    assert_eq!(judge.judge(Some(&row), &candidate, At::Decision, now), Verdict::Pass);
    judge.sent(&mut row, &candidate);
    assert_eq!(row, before);
    // It took no slot of the event, so another campaign is judged by what comes next.
    policies.consent = None;
    policies.control.clear();
    let mut judge = Judge::new(Some(&policies), "prod", now, Some(&row));
    judge.sent(&mut row, &candidate);
    let other = Candidate { campaign: "push", ..candidate };
    let verdict = judge.judge(Some(&row), &other, At::Decision, now);
    assert_eq!(reason(&verdict), Some(Reason::QuietHours));
    let shadow = Candidate { is_live: false, ..candidate };
    let verdict = judge.judge(Some(&row), &shadow, At::Decision, now);
    assert_eq!(reason(&verdict), Some(Reason::Shadow));
}

#[test]
fn a_transactional_campaign_counts_if_it_says_so() {
    let mut policies = with_caps([cap("day", 1, Span::Day)]);
    set(&mut policies, "card-security", |policy| policy.is_transactional = true);
    let (mut row, ids) = (no_row(), ids(164));
    let mut judge = Judge::new(Some(&policies), "prod", 0, None);
    judge.sent(&mut row, &candidate(&ids, "card-security", SMS, 1));
    assert_eq!(row.counted.len(), 1);
}

#[test]
fn without_policies_only_shadow_mode_and_a_missing_recipient_suppress() {
    let ids = ids(164);
    let mut judge = Judge::new(None, "prod", 0, None);
    let candidate = candidate(&ids, "push", SMS, 1);
    let judged =
        |judge: &Judge<'_>, candidate| reason(&judge.judge(None, &candidate, At::Decision, 0));
    assert_eq!(judged(&judge, candidate), None);
    assert_eq!(judged(&judge, Candidate { is_live: false, ..candidate }), Some(Reason::Shadow));
    let nobody = Candidate { recipient: None, customer: None, ..candidate };
    assert_eq!(judged(&judge, nobody), Some(Reason::NoRecipient));
    let mut row = no_row();
    judge.sent(&mut row, &candidate);
    judge.deferred(&candidate);
    assert_eq!((row, judge.priority("push")), (no_row(), 0));
}

#[test]
fn an_allow_list_concerns_its_environment_and_customer_ids() {
    let mut policies = no_policies();
    policies.allow_lists.insert("staging".into(), names(&["101"]));
    policies.allow_lists.insert("empty".into(), names(&[]));
    let nameless = Customer { customer_uid: Some("101".into()), ..Customer::default() };
    let judged = |environment: &str, ids: &Customer| {
        let judge = Judge::new(Some(&policies), environment, 0, None);
        reason(&judge.judge(None, &candidate(ids, "push", SMS, 1), At::Decision, 0))
    };
    assert_eq!(judged("staging", &ids(101)), None);
    assert_eq!(judged("staging", &ids(102)), Some(Reason::NotListed));
    assert_eq!(judged("staging", &nameless), Some(Reason::NotListed));
    assert_eq!(judged("empty", &ids(101)), Some(Reason::NotListed));
    assert_eq!(judged("prod", &ids(102)), None);
}

#[test]
fn a_refusal_says_since_when_and_from_where() {
    let policies = with_consent();
    let judged = |source| {
        let row = with_answer("Mailings", false, source);
        judge(&policies, &row, "push", moscow("2026-03-01 12:00"))
    };
    let import = judged(ConsentSource::Import);
    let text = "sms of Mailings, since 2026-02-01 10:00 +03:00, import";
    assert_eq!((reason(&import), details(&import)), (Some(Reason::ConsentOff), (None, Some(text))));
    let from_event = judged(ConsentSource::Event(EventId::NONE));
    let text =
        "sms of Mailings, since 2026-02-01 10:00 +03:00, event 00000000000000000000000000000000";
    assert_eq!(details(&from_event), (None, Some(text)));
}

#[test]
fn a_consent_that_is_not_known_is_settled_by_channel() {
    let (policies, ids) = (with_consent(), ids(164));
    let agreed = with_answer("Mailings", true, ConsentSource::Import);
    assert_eq!(judge(&policies, &agreed, "push", 0), Verdict::Pass);
    let judge = Judge::new(Some(&policies), "prod", 0, None);
    for channel in Channel::ALL {
        let verdict = judge.judge(None, &candidate(&ids, "push", channel, 1), At::Decision, 0);
        let is_allowed = matches!(channel, Channel::Mail | Channel::Push);
        assert_eq!(
            reason(&verdict),
            (!is_allowed).then_some(Reason::ConsentUnknown),
            "{channel:?}"
        );
        if !is_allowed {
            let text = format!("{} of Mailings", channel.name());
            assert_eq!(details(&verdict), (None, Some(&*text)));
        }
    }
}

#[test]
fn a_campaign_may_ask_for_a_subscription_of_its_own() {
    let mut policies = with_consent();
    set(&mut policies, "basket", |policy| policy.subscription = Some("Discounts".into()));
    let row = with_answer("Discounts", true, ConsentSource::Import);
    assert_eq!(judge(&policies, &row, "basket", 0), Verdict::Pass);
    assert_eq!(reason(&judge(&policies, &row, "push", 0)), Some(Reason::ConsentUnknown));
}

#[test]
fn a_control_group_concerns_its_campaigns_and_customers_with_a_key() {
    let mut policies = no_policies();
    let first = ControlGroup { campaigns: Some(names(&["win-back"])), ..group("a", "1", 10_000) };
    policies.control = vec![first, group("b", "2", 0)];
    let verdict = judge(&policies, &no_row(), "win-back", 0);
    assert_eq!((reason(&verdict), details(&verdict)), (Some(Reason::Control), (Some("a"), None)));
    assert_eq!(judge(&policies, &no_row(), "push", 0), Verdict::Pass);
    let device = Customer { application_id: Some("1".into()), ..Customer::default() };
    let judge = Judge::new(Some(&policies), "prod", 0, None);
    let verdict = judge.judge(None, &candidate(&device, "win-back", SMS, 1), At::Decision, 0);
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn the_first_campaign_to_pass_takes_the_slot_of_the_event() {
    let mut policies =
        with_caps([Cap { campaigns: Some(names(&["a"])), ..cap("c", 1, Span::Day) }]);
    policies.event_campaigns_max = Some(1);
    let (now, ids) = (moscow("2026-03-01 12:00"), ids(164));
    let (a, b) = (candidate(&ids, "a", SMS, 1), candidate(&ids, "b", SMS, 1));
    let mut row = no_row();
    let mut judge = Judge::new(Some(&policies), "prod", now, None);
    assert_eq!(judge.judge(None, &a, At::Decision, now), Verdict::Pass);
    judge.sent(&mut row, &a);
    let verdict = judge.judge(Some(&row), &b, At::Decision, now);
    assert_eq!(reason(&verdict), Some(Reason::EventMax));
    assert_eq!(details(&verdict), (None, Some("1 of 1; first: a")));
    let another_event = Candidate { event: event(2), ..b };
    assert_eq!(judge.judge(Some(&row), &another_event, At::Decision, now), Verdict::Pass);
    let more_of_a = Candidate { channel: Channel::Push, ..a };
    assert_eq!(judge.judge(Some(&row), &more_of_a, At::Decision, now), Verdict::Pass);
    // If the first is capped, it takes no slot.
    let row = row_with([counted(now, "a", 9, SMS)]);
    let judge = Judge::new(Some(&policies), "prod", now, None);
    assert_eq!(reason(&judge.judge(Some(&row), &a, At::Decision, now)), Some(Reason::Cap));
    assert_eq!(judge.judge(Some(&row), &b, At::Decision, now), Verdict::Pass);
}

#[test]
fn priorities_are_those_of_the_file() {
    let mut policies = no_policies();
    set(&mut policies, "basket", |policy| policy.priority = 20);
    let judge = Judge::new(Some(&policies), "prod", 0, None);
    assert_eq!((judge.priority("basket"), judge.priority("push")), (20, 0));
}

#[test]
fn foreign_text_in_details_has_no_control_characters() {
    let mut policies = with_consent();
    set(&mut policies, "push", |policy| policy.subscription = Some("a\u{1b}[31m".into()));
    let verdict = judge(&policies, &no_row(), "push", 0);
    assert_eq!(details(&verdict).1, Some("sms of a\\u{1b}[31m"));
    let policies = with_caps([cap("day", 1, Span::Day)]);
    let row = row_with([counted(moscow("2026-03-01 10:00"), "a\u{1b}", 7, SMS)]);
    let verdict = judge(&policies, &row, "push", moscow("2026-03-01 12:00"));
    let text = "1 of 1 since 2026-03-01 00:00 +03:00; last: a\\u{1b} sms";
    assert_eq!(details(&verdict).1, Some(text));
}

proptest! {
    #[test]
    fn no_moment_panics(now: i64, decided: i64, discard_at: i64, sent: i64, is_release: bool) {
        let (mut policies, mut row) = everything_refuses();
        policies.control.clear();
        policies.consent = None;
        policies.allow_lists.clear();
        policies.quiet_hours[0].defers = true;
        policies.deferral = Some(Deferral { discard_after_ms: DAY, spread_ms: HOUR });
        row.counted = vec![counted(sent, "other", 7, SMS)];
        let (ids, mut judge) = (ids(164), Judge::new(Some(&policies), "prod", now, Some(&row)));
        let at = if is_release { At::Release { discard_at } } else { At::Decision };
        let candidate = candidate(&ids, "push", SMS, 1);
        let _ = judge.judge(Some(&row), &candidate, at, decided);
        judge.sent(&mut row, &candidate);
    }
}
