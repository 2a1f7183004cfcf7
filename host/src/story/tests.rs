//! Stories of stores that are made up here.

use super::fixture::{EIGHT, History, MINUTE, answers, customer, entry, outcome, sends};
use super::*;
use crate::clock::ClockMark;
use crate::records::{Decided, FailureStatus, JournalEntry, Key, Partition, Progress, TrailKey, Verdict, encode};
use crate::store::{Changes, Store, Table};

fn ask(id: &str) -> Question {
    Question { customer: id.into(), ..Question::default() }
}

fn told(history: &History, question: &Question, takers: Option<&[Taker]>) -> Story {
    tell(&*history.store.snapshot().unwrap(), question, takers).unwrap()
}

/// The endings of each event.
fn endings(story: &Story) -> Vec<Vec<String>> {
    let of = |told: &Told| told.lines.iter().map(|line| line.ending.text(&jiff::tz::TimeZone::UTC)).collect();
    story.events.iter().map(of).collect()
}

fn minutes(story: &Story) -> Vec<i64> {
    story.events.iter().map(|told| (told.at.as_millisecond() - EIGHT) / MINUTE).collect()
}

fn taker(campaign: &str, codes: &[&str]) -> Taker {
    let codes = codes.iter().map(|code| (*code).to_owned()).collect();
    Taker { campaign: campaign.into(), codes, in_place_of: None, conditions: Vec::new() }
}

/// One of everything that an entry can say.
pub(crate) fn of_every_ending() -> History {
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

#[test]
fn every_ending_is_told_as_it_was_decided() {
    let history = of_every_ending();
    let takers = [taker("big-basket", &["OnPurchaseConfirm"]), taker("later", &[ANY_EVENT])];
    let story = told(&history, &ask("7"), Some(&takers));
    assert_eq!(
        endings(&story),
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
                // `big-basket` takes such events, and was not asked that time.
                "campaign not loaded, off or not started",
                "campaign not loaded, off or not started",
            ],
            vec!["deferred until the sink takes it"],
        ]
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&story).unwrap());
    let again: Story = serde_json::from_str(&serde_json::to_string(&story).unwrap()).unwrap();
    assert_eq!(again, story, "it crosses the socket whole");
}

#[test]
fn a_communication_is_published_only_when_its_row_has_left_the_outbox() {
    let mut history = History::new();
    let outcomes = || vec![outcome("welcome", sends(&[("a", Verdict::Passed), ("b", Verdict::Passed)], &[]))];
    history.commit(vec![entry("7", 0, "A", outcomes())], &["b"]);
    assert_eq!(endings(&told(&history, &ask("7"), None)), [["published", "deferred until the sink takes it"]]);
    let mut changes = Changes::new();
    changes.delete(Table::Outbox, Key::commit(Partition::of_customer(customer("7")), 1, 0));
    history.store.commit(changes).unwrap();
    assert_eq!(endings(&told(&history, &ask("7"), None)), [["published", "published"]]);
}

#[test]
fn a_kept_event_is_told_as_what_has_become_of_it() {
    let missed = |is_kept| Decided::Missed { reason: "paused".into(), is_kept };
    let outcomes = |decided: &dyn Fn() -> Decided| ["owed", "dropped", "decided"].map(|name| outcome(name, decided()));
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
    let story = told(&history, &ask("7"), None);
    assert_eq!(
        endings(&story)[..3],
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
fn of_somebody_unknown_nothing_is_told() {
    let history = of_every_ending();
    let story = told(&history, &ask("8"), Some(&[taker("later", &[ANY_EVENT])]));
    assert_eq!(story, Story::default());
    let by_uid = Question { by: Some(By::CustomerUid), ..ask("7") };
    assert_eq!(told(&history, &by_uid, None).found_by, None);
}

#[test]
fn ids_are_tried_in_the_engines_order_and_the_others_are_named() {
    let mut history = of_every_ending();
    let group = crate::event::Customer { account_group_id: Some("7".into()), ..Default::default() }.key().unwrap();
    history.put(Table::Trail, TrailKey { period: 0, customer: group, commit: 1 }.encode(), Vec::new());
    let story = told(&history, &ask("7"), None);
    assert_eq!((story.found_by, story.also_by), (Some(By::CustomerId), vec![By::AccountGroupId]));
    let story = told(&history, &Question { by: Some(By::AccountGroupId), ..ask("7") }, None);
    assert_eq!((story.found_by, story.events.len()), (Some(By::AccountGroupId), 0));
}

#[test]
fn without_the_rules_only_the_campaign_that_was_asked_for_is_missed() {
    let history = of_every_ending();
    assert_eq!(endings(&told(&history, &ask("7"), None))[0], [] as [&str; 0]);
    let asked = Question { campaign: Some("big-basket".into()), ..ask("7") };
    let story = told(&history, &asked, None);
    let not_asked = "campaign not loaded, off or not started, or its condition did not match";
    assert_eq!(endings(&story), [vec![not_asked], vec!["published", "suppressed (shadow)"], vec![not_asked]]);
    assert_eq!(story.others, 1, "the timer of another campaign");
    // Of one that runs it is known that it does not want the first event.
    let story = told(&history, &asked, Some(&[taker("big-basket", &["OnPurchaseConfirm"])]));
    assert_eq!((minutes(&story), story.others), (vec![1, 2], 2));
}

#[test]
fn who_was_not_asked_as_its_condition_did_not_match_is_told_with_the_condition() {
    let history = of_every_ending();
    let condition = |code: &str, text: &str| (code.to_owned(), text.to_owned());
    let of_any =
        Taker { conditions: vec![condition(ANY_EVENT, "refund")], ..taker("any", &[ANY_EVENT, "OnBeginRegistration"]) };
    let of_one = Taker {
        conditions: vec![condition("OnPurchaseConfirm", "amount >= 100.00")],
        ..taker("one", &["OnPurchaseConfirm"])
    };
    let story = told(&history, &ask("7"), Some(&[of_any, of_one]));
    let missed = |condition: &str| format!("condition did not match ({condition}), if the campaign ran then");
    let endings = endings(&story);
    assert_eq!(endings[0], ["campaign not loaded, off or not started"], "its handler of this code has no condition");
    assert_eq!(endings[2][1..], [missed("refund"), missed("amount >= 100.00")]);
    assert_eq!(endings[3].len(), 1, "a timer has no condition");
    let ending = &story.events[2].lines[2].ending;
    let json = serde_json::to_value(ending).unwrap();
    assert_eq!(json, serde_json::json!({ "ending": "not-matched", "condition": "amount >= 100.00" }));
}

#[test]
fn a_part_of_a_story_begins_where_it_was_asked_to() {
    let history = of_every_ending();
    let since = Timestamp::from_millisecond(EIGHT + 2 * MINUTE).unwrap();
    let story = told(&history, &Question { since: Some(since), ..ask("7") }, None);
    assert_eq!((minutes(&story), story.is_cut), (vec![2, 60], false));
    assert_eq!(story.kept_since, Some(Timestamp::from_millisecond(EIGHT).unwrap()));
}

#[test]
fn merged_customers_tell_one_story_whichever_is_asked_for() {
    let mut history = History::new();
    for (minute, of) in [(0, "a"), (1, "c"), (2, "b"), (3, "a"), (4, "other"), (5, "c")] {
        history.commit(vec![entry(of, minute, "A", vec![])], &[]);
    }
    history.merge("a", "b");
    history.merge("b", "c");
    history.timer("c", "win-back", "nudge", EIGHT);
    for id in ["a", "b", "c"] {
        let story = told(&history, &ask(id), None);
        assert_eq!(minutes(&story), [0, 1, 2, 3, 5], "{id}");
        assert_eq!(story.became, (id != "c").then(|| name_of(customer("c"))), "{id}");
        let of_others = story.events.iter().filter(|told| told.customer.is_some()).count();
        assert_eq!(of_others, if id == "b" { 4 } else { 3 }, "{id}");
        assert_eq!(story.timers.len(), 1, "{id}");
        assert_eq!(story.absorbed.len(), if id == "c" { 2 } else { 1 }, "{id}");
    }
}

#[test]
fn merges_in_a_circle_come_to_an_end() {
    let mut history = History::new();
    for (minute, of) in [(0, "a"), (1, "b")] {
        history.commit(vec![entry(of, minute, "A", vec![])], &[]);
    }
    history.merge("a", "b");
    history.merge("b", "a");
    for id in ["a", "b"] {
        assert_eq!(minutes(&told(&history, &ask(id), None)), [0, 1], "{id}");
    }
    history.merge("a", "a");
    assert_eq!(minutes(&told(&history, &ask("a"), None)), [0, 1]);
}

#[test]
fn a_long_story_is_cut_at_its_beginning() {
    let mut history = History::new();
    for commit in 0..60 {
        let entries = (0..20).map(|minute| entry("7", commit * 20 + minute, "A", vec![])).collect();
        history.commit(entries, &[]);
    }
    let story = told(&history, &ask("7"), None);
    assert!(story.is_cut);
    assert_eq!(minutes(&story), (200..1200).collect::<Vec<_>>());
}

#[test]
fn rows_that_can_not_be_read_are_an_error_and_not_an_absence() {
    let mut history = of_every_ending();
    history.put(Table::Journal, Key::commit(Partition::of_customer(customer("7")), 2, 0), vec![0xc1]);
    let snapshot = history.store.snapshot().unwrap();
    assert!(tell(&*snapshot, &ask("7"), None).is_err());
    assert!(decisions(&*snapshot, &DecisionQuery::default()).is_err());
}

/// Every decision, page by page.
fn all(history: &History, mut query: DecisionQuery) -> (Vec<Decision>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = decisions(&*history.store.snapshot().unwrap(), &query).unwrap();
        all.extend(page.decisions);
        pages += 1;
        match page.next {
            // As it crosses the socket.
            Some(next) => query.from = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap(),
            None => return (all, pages),
        }
    }
}

#[test]
fn every_decision_comes_once_over_many_pages() {
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
    assert_eq!((some.len(), some.iter().all(|one| one.campaign == "b" && one.decision == "held")), (10, true));
}

#[test]
fn a_decision_says_all_that_the_journal_knows() {
    let (decisions, _) = all(&of_every_ending(), DecisionQuery::default());
    insta::assert_snapshot!(serde_json::to_string_pretty(&decisions).unwrap());
}

#[test]
fn an_overview_counts_what_is_in_a_store() {
    let mut history = of_every_ending();
    history.timer("other", "win-back", "nudge", EIGHT - MINUTE);
    history.put(Table::Seen, vec![1, 2, 3], Vec::new());
    let progress = Progress { commit: 4, runs: 2, ..Progress::default() };
    history.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
    let overview = overview(&history.store, None, ClockMark::default()).unwrap();
    assert_eq!((overview.commit, overview.runs, overview.outbox_waiting, overview.dedup_rows), (4, 2, 1, 1));
    assert_eq!(overview.oldest_timer, Some(time(EIGHT - MINUTE)));
    assert_eq!(overview.journal, Some(JournalSpan { first: time(EIGHT), last: time(EIGHT + 60 * MINUTE) }));
    let rows = |name: &str| overview.tables.iter().find(|table| table.name == name).unwrap().rows;
    assert_eq!((rows("journal"), rows("timers"), rows("outbox")), (4, 2, 1));
    let again: Overview = serde_json::from_str(&serde_json::to_string(&overview).unwrap()).unwrap();
    assert_eq!(again, overview);
    assert_eq!(
        super::overview(&crate::store::MemoryStore::new("test"), None, ClockMark::default()).unwrap().journal,
        None
    );
}
