//! Every decision, page by page: so that neither side holds more than a page, and no snapshot is held for longer than one takes.
//!
//! The order is that of the store: partition after partition, and in each, which holds a customer whole, in the order of time. What is added or expires
//! while pages are read may or may not be among them; nothing else is missing, and nothing comes twice.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name_of, time};
use crate::records::{self, Decided, JournalEntry, JournalRow, Key, Partition, Verdict, decode};
use crate::store::{Snapshot, StoreError, Table};

/// Decisions of a page; those of one event stay together.
const DECISIONS_MAX: usize = 2000;
/// What is read of the journal for a page, although little of it may be asked for.
const READ_BYTES_MAX: usize = 8 << 20;

/// Which decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionQuery {
    /// Nothing before.
    pub since: Option<Timestamp>,
    /// Nothing from then on.
    pub until: Option<Timestamp>,
    /// Of these campaigns; of all if none is named.
    #[serde(default)]
    pub campaigns: Vec<String>,
    /// Where the page before ended.
    #[serde(default)]
    pub from: Cursor,
}

/// A place in the journal: the next entry to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    partition: u8,
    commit: u64,
    part: u16,
    entry: usize,
}

/// Some decisions, and where to go on; without that, they were the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionPage {
    pub decisions: Vec<Decision>,
    pub next: Option<Cursor>,
}

/// What one campaign decided on one event or timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    pub at: Timestamp,
    pub event_id: String,
    /// The customer's key, which is no name.
    pub customer: Option<String>,
    /// The code of the event, or none for a timer.
    pub event_code: Option<String>,
    pub timer: Option<String>,
    /// When the timer was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    pub rule_set: u64,
    pub campaign: String,
    pub version: String,
    /// `answered`, `skipped`, `failed`, `held` or `outside-rollout`.
    pub decision: String,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    pub communications: Vec<Sent>,
    pub notes: Vec<String>,
    /// The timers that it set.
    pub scheduled: Vec<String>,
    pub cancelled: Vec<String>,
    pub state_changed: bool,
}

/// A communication that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    pub channel: String,
    pub template: String,
    /// `passed`, or why it does not go out.
    pub verdict: String,
    pub id: Option<String>,
    /// A hash of the data, if the campaign is compared with a shadow or is one; 0 if not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub data_hash: u64,
}

/// Reads a page.
///
/// # Errors
/// When a row can't be read.
pub fn decisions(snapshot: &dyn Snapshot, query: &DecisionQuery) -> Result<DecisionPage, StoreError> {
    let mut page = DecisionPage::default();
    let Cursor { partition, commit, part, entry } = query.from;
    let mut read_bytes = 0;
    for partition in Partition::all().skip_while(|one| one.number() < partition) {
        let (mut from, to) = Key::whole(partition);
        let begins_here = partition.number() == query.from.partition;
        if begins_here {
            from = Key::commit(partition, commit, part);
        }
        let first = from.clone();
        let mut broken = None;
        snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
            read_bytes += row.len();
            let is_first = begins_here && key == first;
            match decode::<JournalRow>(Table::Journal, row) {
                Ok(entries) => read(entries, key, if is_first { entry } else { 0 }, query, &mut page),
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
            // All of the row has been looked at.
            if page.next.is_none() && read_bytes >= READ_BYTES_MAX {
                page.next = cursor(key).map(|cursor| Cursor { entry: usize::MAX, ..cursor });
            }
            if page.next.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        if page.next.is_some() {
            break;
        }
    }
    Ok(page)
}

/// Adds what is asked for of a row, from its `skip`th entry on, until the page is full.
fn read(entries: JournalRow, key: &[u8], skip: usize, query: &DecisionQuery, page: &mut DecisionPage) {
    for (number, entry) in entries.into_iter().enumerate().skip(skip) {
        if page.decisions.len() >= DECISIONS_MAX {
            page.next = cursor(key).map(|cursor| Cursor { entry: number, ..cursor });
            return;
        }
        let at = time(entry.now);
        if query.since.is_some_and(|since| at < since) || query.until.is_some_and(|until| at >= until) {
            continue;
        }
        of_entry(entry, &query.campaigns, &mut page.decisions);
    }
}

fn cursor(key: &[u8]) -> Option<Cursor> {
    let partition = Partition::of_key(key)?.number();
    let commit = Key::commit_of(key)?;
    let part = u16::from_be_bytes(*key.get(9..)?.first_chunk()?);
    Some(Cursor { partition, commit, part, entry: 0 })
}

fn of_entry(entry: JournalEntry, campaigns: &[String], decisions: &mut Vec<Decision>) {
    let (event_code, timer, due) = match &entry.cause {
        records::Cause::Event { code } => (Some(code.to_string()), None, None),
        records::Cause::Timer { name, due, .. } => (None, Some(name.to_string()), Some(time(*due))),
    };
    for outcome in entry.outcomes {
        if !(campaigns.is_empty() || campaigns.iter().any(|campaign| **campaign == *outcome.campaign)) {
            continue;
        }
        let mut decision = Decision {
            at: time(entry.now),
            event_id: entry.event_id.to_string(),
            customer: entry.customer.map(name_of),
            event_code: event_code.clone(),
            timer: timer.clone(),
            due,
            rule_set: entry.rule_set,
            campaign: outcome.campaign.to_string(),
            version: outcome.version.to_string(),
            decision: "answered".to_owned(),
            reason: None,
            communications: Vec::new(),
            notes: Vec::new(),
            scheduled: Vec::new(),
            cancelled: Vec::new(),
            state_changed: false,
        };
        fill(&mut decision, outcome.decided);
        decisions.push(decision);
    }
}

fn fill(decision: &mut Decision, decided: Decided) {
    let (name, reason) = match decided {
        Decided::Skipped { field, why } => ("skipped", Some(Decided::skipped_as(&field, why.as_deref()))),
        Decided::Failed { error } => ("failed", Some(error.into())),
        Decided::Held => ("held", None),
        Decided::Missed { reason, .. } => ("missed", Some(reason.into())),
        Decided::OutsideRollout => ("outside-rollout", None),
        Decided::Answered { communications, notes, state_changed, scheduled, cancelled } => {
            decision.communications = communications.into_iter().map(sent).collect();
            decision.notes = notes.into_iter().map(String::from).collect();
            decision.scheduled = scheduled.into_iter().map(|(name, _)| name.into()).collect();
            decision.cancelled = cancelled.into_iter().map(String::from).collect();
            decision.state_changed = state_changed;
            ("answered", None)
        }
    };
    decision.decision = name.to_owned();
    decision.reason = reason;
}

fn sent(one: records::Proposed) -> Sent {
    let records::Proposed { id, channel, template, verdict, data_hash } = one;
    Sent {
        channel: super::lines::channel_name(channel),
        template: template.into(),
        verdict: match verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Suppressed(reason) => reason.into(),
        },
        id: Some(String::from(id)).filter(|id| !id.is_empty()),
        data_hash,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is what serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
