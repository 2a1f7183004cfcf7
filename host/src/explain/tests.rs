//! Explanations of stores that the tests build.

use super::fixture::{
    EIGHT, History, MINUTE, answers, customer, entry, judged, outcome, released, sends,
};
use super::*;
use crate::clock::{ClockMark, Millis};
use crate::records::{
    Decided, FailureStatus, JournalEntry, Key, Partition, Progress, TrailKey, Verdict, encode,
};
use crate::store::{Changes, Store, Table};

fn ask(id: &str) -> ExplainQuery {
    ExplainQuery { customer: id.into(), ..ExplainQuery::default() }
}

fn explained(
    history: &History,
    question: &ExplainQuery,
    running: Option<&[RunningCampaign]>,
) -> Explanation {
    explain(&*history.store.snapshot().unwrap(), question, running).unwrap()
}

/// The results of each event's lines.
fn results(explanation: &Explanation) -> Vec<Vec<String>> {
    let of = |event: &ExplainedEvent| {
        event.lines.iter().map(|line| line.result.text(&jiff::tz::TimeZone::UTC)).collect()
    };
    explanation.events.iter().map(of).collect()
}

fn minutes(explanation: &Explanation) -> Vec<i64> {
    explanation.events.iter().map(|event| (event.at.as_millisecond() - EIGHT) / MINUTE).collect()
}

fn running_campaign(campaign: &str, codes: &[&str]) -> RunningCampaign {
    let codes = codes.iter().map(|code| (*code).to_owned()).collect();
    RunningCampaign { campaign: campaign.into(), codes, in_place_of: None, conditions: Vec::new() }
}

/// A history with one of every result that a journal entry can have.
pub(crate) fn history_with_every_result() -> History {
    let mut history = History::new();
    history.commit(vec![entry("7", 0, "OnBeginRegistration", vec![])], &[]);
    let both = [("a1", Verdict::Passed), ("", Verdict::Suppressed("shadow".into()))];
    let outcomes = vec![
        outcome("big-basket", sends(&both, &["thanked"])),
        outcome("fails", Decided::Failed { error: "no such level".into() }),
        outcome("held", Decided::Held),
        outcome("quiet", answers(vec![], &["12 is below 500", "so be it"])),
        outcome("silent", answers(vec![], &[])),
        outcome("rollout", Decided::OutsideRollout),
        outcome("wants-more", Decided::Skipped { field: "amount".into(), why: None }),
    ];
    history.commit(vec![entry("7", 1, "OnPurchaseConfirm", outcomes)], &[]);
    history.keep("7", "held", 1, FailureStatus::Held);
    let nudge = Decided::Answered {
        communications: vec![],
        notes: vec!["nudged".into()],
        state_changed: true,
        scheduled: vec![("nudge".into(), EIGHT + 60 * MINUTE)],
        cancelled: vec!["win-back".into()],
    };
    history.commit(vec![entry("7", 2, "OnPurchaseConfirm", vec![outcome("nudges", nudge)])], &[]);
    let timer = JournalEntry {
        cause: crate::records::Cause::Timer {
            campaign: "nudges".into(),
            name: "nudge".into(),
            due: EIGHT + 60 * MINUTE,
        },
        ..entry("7", 60, "", vec![outcome("nudges", sends(&[("b1", Verdict::Passed)], &[]))])
    };
    history.commit(vec![timer], &["b1"]);
    history.timer("7", "nudges", "again", EIGHT + 90 * MINUTE);
    history
}

/// A history with the verdicts of policies: an evening at 23:30 in Moscow, and the morning after.
pub(crate) fn history_of_policies() -> History {
    const EVENING: Millis = 750;
    const MORNING: Millis = 1320;
    let mut history = History::new();
    let suppressed = |campaign: &str, reason: &str, policy: Option<&str>, detail: Option<&str>| {
        let one = judged("", Verdict::Suppressed(reason.into()), policy, detail);
        outcome(campaign, answers(vec![one], &[]))
    };
    let night = |until: Millis| {
        let until = EIGHT + until * MINUTE;
        judged("", Verdict::Deferred { until }, Some("night"), None)
    };
    let usage = "2 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push";
    let refusal = "sms of Mailings, since 2026-02-01 10:00 +03:00, event 70cc9d05";
    let late = "until 2026-03-02 09:00 +03:00 would be later than 3h after the decision";
    let outcomes = vec![
        suppressed("capped", "cap", Some("day"), Some(usage)),
        suppressed("refused", "consent-off", None, Some(refusal)),
        suppressed("unknown", "consent-unknown", None, Some("sms of Mailings")),
        suppressed("chosen", "control", Some("holdout"), None),
        suppressed("second", "event-max", None, Some("1 of 1; first: big-basket")),
        suppressed("nudges", "quiet-hours", Some("night"), Some(late)),
        suppressed("full", "deferral-full", Some("night"), None),
        outcome("big-basket", answers(vec![night(MORNING), night(MORNING)], &["thanked"])),
    ];
    history.commit(vec![entry("7", EVENING, "OnPurchaseConfirm", outcomes)], &[]);
    let again = |minute: u16, campaign: &str, version: &str, communication| {
        let outcome = outcome(campaign, released(minute, communication));
        crate::records::Outcome { version: version.into(), ..outcome }
    };
    let ended = |reason: &str| judged("", Verdict::Suppressed(reason.into()), None, None);
    let cancelled = again(750, "reminds", "", ended("cancelled"));
    history.commit(vec![entry("7", EVENING + 1, "OnEndRegistration", vec![cancelled])], &[]);
    let outcomes = vec![
        again(750, "big-basket", "1.3.0", judged("r1", Verdict::Passed, None, None)),
        again(750, "big-basket", "1.3.0", judged("r2", Verdict::Passed, None, None)),
        again(749, "old", "1.3.0", ended("stale")),
        again(748, "gone", "", ended("campaign-gone")),
        again(747, "moved", "1.3.0", night(MORNING + 60)),
    ];
    let release = JournalEntry {
        cause: crate::records::Cause::Release { due: EIGHT + MORNING * MINUTE },
        ..entry("7", MORNING, "", outcomes)
    };
    history.commit(vec![release], &["r2"]);
    history
}

#[test]
fn every_verdict_of_a_policy_is_explained_with_its_circumstances() {
    let history = history_of_policies();
    let running = [running_campaign("reminds", &[ANY_EVENT])];
    let explanation = explained(&history, &ask("7"), Some(&running));
    let not_called = "campaign not loaded, off or not started";
    assert_eq!(
        results(&explanation),
        [
            vec![
                "suppressed (cap day: 2 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push)",
                "suppressed (consent-off sms of Mailings, since 2026-02-01 10:00 +03:00, event \
                 70cc9d05)",
                "suppressed (consent-unknown sms of Mailings)",
                "suppressed (control holdout)",
                "suppressed (event-max 1 of 1; first: big-basket)",
                "suppressed (quiet-hours night: until 2026-03-02 09:00 +03:00 would be later than \
                 3h after the decision)",
                "suppressed (deferral-full night)",
                "deferred until 2026-03-02 06:00:00 UTC (quiet-hours night)",
                "deferred until 2026-03-02 06:00:00 UTC (quiet-hours night)",
                not_called,
            ],
            // The end of a deferred message is no call of its campaign.
            vec!["suppressed (cancelled)", not_called],
            vec![
                "published",
                "deferred until the sink takes it",
                "suppressed (stale)",
                "suppressed (campaign-gone)",
                "deferred until 2026-03-02 07:00:00 UTC (quiet-hours night)",
            ],
        ]
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&explanation.events[1..]).unwrap());
    let lines = &explanation.events[0].lines;
    assert_eq!(
        serde_json::to_value(&lines[0].result).unwrap(),
        serde_json::json!({
            "ending": "suppressed",
            "reason": "cap",
            "policy": "day",
            "detail": "2 of 2 since 2026-03-01 00:00 +03:00; last: big-basket push",
        })
    );
    assert_eq!(
        serde_json::to_value(&lines[7].result).unwrap(),
        serde_json::json!({
            "ending": "deferred",
            "until": { "time": "2026-03-02T06:00:00Z" },
            "reason": "quiet-hours",
            "policy": "night",
        })
    );
    let again: Explanation =
        serde_json::from_str(&serde_json::to_string(&explanation).unwrap()).unwrap();
    assert_eq!(again, explanation, "the socket transports it without loss");
}

#[test]
fn a_cancelled_message_does_not_hide_that_a_canary_keeps_the_event() {
    let mut history = History::new();
    let cancelled = judged("", Verdict::Suppressed("cancelled".into()), None, None);
    let missed = Decided::Missed { reason: "paused".into(), is_kept: true };
    let outcomes =
        vec![outcome("welcome", released(0, cancelled)), outcome("welcome-next", missed)];
    history.commit(vec![entry("7", 1, "A", outcomes)], &[]);
    history.keep("7", "welcome", 1, FailureStatus::Held);
    assert_eq!(
        results(&explained(&history, &ask("7"), None))[0],
        ["suppressed (cancelled)", "missed (paused), and kept to be decided later"]
    );
}

#[test]
fn every_result_is_explained_as_it_was_decided() {
    let history = history_with_every_result();
    let running = [
        running_campaign("big-basket", &["OnPurchaseConfirm"]),
        running_campaign("later", &[ANY_EVENT]),
    ];
    let explanation = explained(&history, &ask("7"), Some(&running));
    assert_eq!(
        results(&explanation),
        [
            vec!["campaign not loaded, off or not started"],
            vec![
                "published",
                "suppressed (shadow)",
                "failed (no such level)",
                "deferred until an earlier failure is settled",
                "rule chose nothing (12 is below 500; so be it)",
                "rule chose nothing (no note)",
                "outside rollout",
                "rule chose nothing (not called: the event has no `amount`, which it requires)",
                "campaign not loaded, off or not started",
            ],
            vec![
                "deferred until 2026-03-01 09:00:00 UTC",
                // `big-basket` takes such events, but was not called for this one.
                "campaign not loaded, off or not started",
                "campaign not loaded, off or not started",
            ],
            vec!["deferred until the sink takes it"],
        ]
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&explanation).unwrap());
    let again: Explanation =
        serde_json::from_str(&serde_json::to_string(&explanation).unwrap()).unwrap();
    assert_eq!(again, explanation, "the socket transports it without loss");
}

#[test]
fn a_communication_is_published_only_when_its_row_has_left_the_outbox() {
    let mut history = History::new();
    let outcomes =
        || vec![outcome("welcome", sends(&[("a", Verdict::Passed), ("b", Verdict::Passed)], &[]))];
    history.commit(vec![entry("7", 0, "A", outcomes())], &["b"]);
    assert_eq!(
        results(&explained(&history, &ask("7"), None)),
        [["published", "deferred until the sink takes it"]]
    );
    let mut changes = Changes::new();
    changes.delete(Table::Outbox, Key::commit(Partition::of_customer(customer("7")), 1, 0));
    history.store.commit(changes).unwrap();
    assert_eq!(results(&explained(&history, &ask("7"), None)), [["published", "published"]]);
}

#[test]
fn a_kept_event_is_explained_by_its_present_status() {
    let missed = |is_kept| Decided::Missed { reason: "paused".into(), is_kept };
    let outcomes = |decided: &dyn Fn() -> Decided| {
        ["owed", "dropped", "decided"].map(|name| outcome(name, decided()))
    };
    let mut history = History::new();
    history.commit(vec![entry("7", 0, "A", outcomes(&|| missed(true)).into())], &[]);
    history.commit(vec![entry("7", 1, "A", outcomes(&|| Decided::Held).into())], &[]);
    history.commit(vec![entry("7", 2, "A", vec![outcome("owed", missed(false))])], &[]);
    for minute in [0, 1] {
        history.keep("7", "owed", minute, FailureStatus::Held);
        let again = vec![outcome("decided", answers(vec![], &["so be it"]))];
        let again = JournalEntry { again: Some(EIGHT), ..entry("7", minute.into(), "A", again) };
        history.commit(vec![again], &[]);
    }
    let explanation = explained(&history, &ask("7"), None);
    assert_eq!(
        results(&explanation)[..3],
        [
            vec![
                "missed (paused), and kept to be decided later",
                "dropped by an operator; it was missed (paused)",
                "missed (paused), and decided later"
            ],
            vec![
                "deferred until an earlier failure is settled",
                "dropped by an operator; it was held behind an earlier failure",
                "deferred until an earlier failure is settled"
            ],
            vec!["missed (paused), and not kept"],
        ]
    );
}

#[test]
fn an_unknown_customer_has_an_empty_explanation() {
    let history = history_with_every_result();
    let explanation =
        explained(&history, &ask("8"), Some(&[running_campaign("later", &[ANY_EVENT])]));
    assert_eq!(explanation, Explanation::default());
    let by_uid = ExplainQuery { by: Some(CustomerIdKind::CustomerUid), ..ask("7") };
    assert_eq!(explained(&history, &by_uid, None).found_by, None);
}

#[test]
fn ids_are_tried_in_the_engines_order_and_other_matches_are_named() {
    let mut history = history_with_every_result();
    let group = crate::event::Customer { account_group_id: Some("7".into()), ..Default::default() }
        .key()
        .unwrap();
    history.put(
        Table::Trail,
        TrailKey { period: 0, customer: group, commit: 1 }.encode(),
        Vec::new(),
    );
    let explanation = explained(&history, &ask("7"), None);
    assert_eq!(
        (explanation.found_by, explanation.also_by),
        (Some(CustomerIdKind::CustomerId), vec![CustomerIdKind::AccountGroupId])
    );
    let explanation = explained(
        &history,
        &ExplainQuery { by: Some(CustomerIdKind::AccountGroupId), ..ask("7") },
        None,
    );
    assert_eq!(
        (explanation.found_by, explanation.events.len()),
        (Some(CustomerIdKind::AccountGroupId), 0)
    );
}

#[test]
fn without_running_campaigns_only_the_requested_one_is_explained() {
    let history = history_with_every_result();
    assert_eq!(results(&explained(&history, &ask("7"), None))[0], [] as [&str; 0]);
    let asked = ExplainQuery { campaign: Some("big-basket".into()), ..ask("7") };
    let explanation = explained(&history, &asked, None);
    let not_asked = "campaign not loaded, off or not started, or its condition did not match";
    assert_eq!(
        results(&explanation),
        [vec![not_asked], vec!["published", "suppressed (shadow)"], vec![not_asked]]
    );
    assert_eq!(explanation.others, 1, "the timer of another campaign");
    // A running campaign is known not to take the first event.
    let explanation = explained(
        &history,
        &asked,
        Some(&[running_campaign("big-basket", &["OnPurchaseConfirm"])]),
    );
    assert_eq!((minutes(&explanation), explanation.others), (vec![1, 2], 2));
}

#[test]
fn a_campaign_whose_condition_did_not_match_is_shown_with_the_condition() {
    let history = history_with_every_result();
    let condition = |code: &str, text: &str| (code.to_owned(), text.to_owned());
    let of_any = RunningCampaign {
        conditions: vec![condition(ANY_EVENT, "refund")],
        ..running_campaign("any", &[ANY_EVENT, "OnBeginRegistration"])
    };
    let of_one = RunningCampaign {
        conditions: vec![condition("OnPurchaseConfirm", "amount >= 100.00")],
        ..running_campaign("one", &["OnPurchaseConfirm"])
    };
    let explanation = explained(&history, &ask("7"), Some(&[of_any, of_one]));
    let missed = |condition: &str| {
        format!("condition did not match ({condition}), if the campaign ran then")
    };
    let results = results(&explanation);
    assert_eq!(
        results[0],
        ["campaign not loaded, off or not started"],
        "the handler for this code has no condition"
    );
    assert_eq!(results[2][1..], [missed("refund"), missed("amount >= 100.00")]);
    assert_eq!(results[3].len(), 1, "a timer has no condition");
    let result = &explanation.events[2].lines[2].result;
    let json = serde_json::to_value(result).unwrap();
    assert_eq!(
        json,
        serde_json::json!({ "ending": "not-matched", "condition": "amount >= 100.00" })
    );
}

#[test]
fn an_explanation_starts_at_the_requested_time() {
    let history = history_with_every_result();
    let since = Timestamp::from_millisecond(EIGHT + 2 * MINUTE).unwrap();
    let explanation = explained(&history, &ExplainQuery { since: Some(since), ..ask("7") }, None);
    assert_eq!((minutes(&explanation), explanation.is_cut), (vec![2, 60], false));
    assert_eq!(explanation.kept_since, Some(Timestamp::from_millisecond(EIGHT).unwrap()));
}

#[test]
fn merged_customers_have_one_explanation_under_every_id() {
    let mut history = History::new();
    for (minute, of) in [(0, "a"), (1, "c"), (2, "b"), (3, "a"), (4, "other"), (5, "c")] {
        history.commit(vec![entry(of, minute, "A", vec![])], &[]);
    }
    history.merge("a", "b");
    history.merge("b", "c");
    history.timer("c", "win-back", "nudge", EIGHT);
    for id in ["a", "b", "c"] {
        let explanation = explained(&history, &ask(id), None);
        assert_eq!(minutes(&explanation), [0, 1, 2, 3, 5], "{id}");
        assert_eq!(explanation.became, (id != "c").then(|| name_of(customer("c"))), "{id}");
        let of_others = explanation.events.iter().filter(|event| event.customer.is_some()).count();
        assert_eq!(of_others, if id == "b" { 4 } else { 3 }, "{id}");
        assert_eq!(explanation.timers.len(), 1, "{id}");
        assert_eq!(explanation.absorbed.len(), if id == "c" { 2 } else { 1 }, "{id}");
    }
}

#[test]
fn a_cycle_of_merges_ends() {
    let mut history = History::new();
    for (minute, of) in [(0, "a"), (1, "b")] {
        history.commit(vec![entry(of, minute, "A", vec![])], &[]);
    }
    history.merge("a", "b");
    history.merge("b", "a");
    for id in ["a", "b"] {
        assert_eq!(minutes(&explained(&history, &ask(id), None)), [0, 1], "{id}");
    }
    history.merge("a", "a");
    assert_eq!(minutes(&explained(&history, &ask("a"), None)), [0, 1]);
}

#[test]
fn a_long_history_loses_its_oldest_events() {
    let mut history = History::new();
    for commit in 0..60 {
        let entries = (0..20).map(|minute| entry("7", commit * 20 + minute, "A", vec![])).collect();
        history.commit(entries, &[]);
    }
    let explanation = explained(&history, &ask("7"), None);
    assert!(explanation.is_cut);
    assert_eq!(minutes(&explanation), (200..1200).collect::<Vec<_>>());
}

#[test]
fn an_unreadable_row_is_an_error() {
    let mut history = history_with_every_result();
    history.put(
        Table::Journal,
        Key::commit(Partition::of_customer(customer("7")), 2, 0),
        vec![0xc1],
    );
    let snapshot = history.store.snapshot().unwrap();
    assert!(explain(&*snapshot, &ask("7"), None).is_err());
    assert!(decisions(&*snapshot, &DecisionQuery::default()).is_err());
}

/// All decisions, read page by page.
fn all(history: &History, mut query: DecisionQuery) -> (Vec<Decision>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = decisions(&*history.store.snapshot().unwrap(), &query).unwrap();
        all.extend(page.decisions);
        pages += 1;
        match page.next {
            // The cursor passes through JSON, as it does on the socket.
            Some(next) => {
                query.from = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap()
            }
            None => return (all, pages),
        }
    }
}

#[test]
fn every_decision_appears_once_across_many_pages() {
    let mut history = History::new();
    for commit in 0..10 {
        let entries = (0..997).map(|number| {
            let of = format!("{}", number % 7);
            entry(
                &of,
                commit * 1000 + number,
                "A",
                vec![outcome("welcome", answers(vec![], &[])), outcome("b", Decided::Held)],
            )
        });
        history.commit(entries.collect(), &[]);
    }
    let (all_of_them, pages) = all(&history, DecisionQuery::default());
    assert_eq!(all_of_them.len(), 2 * 9970);
    assert!(pages >= 9, "{pages}");
    let mut seen: Vec<_> = all_of_them.iter().map(|one| (one.at, one.campaign.clone())).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all_of_them.len());
    for of in all_of_them.chunk_by(|one, other| one.customer == other.customer) {
        assert!(of.is_sorted_by_key(|one| one.at));
    }
    let query = DecisionQuery {
        since: Some(time(EIGHT + 1000 * MINUTE)),
        until: Some(time(EIGHT + 1010 * MINUTE)),
        campaigns: vec!["b".into()],
        ..DecisionQuery::default()
    };
    let (some, _) = all(&history, query);
    assert_eq!(
        (some.len(), some.iter().all(|one| one.campaign == "b" && one.decision == "held")),
        (10, true)
    );
}

#[test]
fn a_decision_lists_everything_in_its_journal_entry() {
    let (decisions, _) = all(&history_with_every_result(), DecisionQuery::default());
    insta::assert_snapshot!(serde_json::to_string_pretty(&decisions).unwrap());
}

#[test]
fn a_decision_of_policies_has_rows_for_released_messages() {
    let (mut decisions, _) = all(&history_of_policies(), DecisionQuery::default());
    decisions.retain(|decision| ["capped", "big-basket", "reminds"].contains(&&*decision.campaign));
    insta::assert_snapshot!(serde_json::to_string_pretty(&decisions).unwrap());
}

#[test]
fn an_overview_counts_the_contents_of_a_store() {
    let mut history = history_with_every_result();
    history.timer("other", "win-back", "nudge", EIGHT - MINUTE);
    history.put(Table::Dedup, vec![1, 2, 3], Vec::new());
    let progress = Progress { commit: 4, runs: 2, ..Progress::default() };
    history.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    let overview = overview(&history.store, None, ClockMark::default()).unwrap();
    assert_eq!(
        (overview.commit, overview.runs, overview.outbox_waiting, overview.dedup_rows),
        (4, 2, 1, 1)
    );
    assert_eq!(overview.oldest_timer, Some(time(EIGHT - MINUTE)));
    assert_eq!(
        overview.journal,
        Some(JournalSpan { first: time(EIGHT), last: time(EIGHT + 60 * MINUTE) })
    );
    let rows = |name: &str| overview.tables.iter().find(|table| table.name == name).unwrap().rows;
    assert_eq!((rows("journal"), rows("timers"), rows("outbox")), (4, 2, 1));
    let again: Overview = serde_json::from_str(&serde_json::to_string(&overview).unwrap()).unwrap();
    assert_eq!(again, overview);
    assert_eq!(
        super::overview(&crate::store::MemoryStore::new("test"), None, ClockMark::default())
            .unwrap()
            .journal,
        None
    );
}
