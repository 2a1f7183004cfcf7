//! Reads every decision, page by page. Paging bounds the memory on both sides, and no snapshot
//! outlives a page.
//!
//! The order is that of the store: partition by partition, and by time within a partition. A
//! partition holds all decisions of its customers. Decisions that are added or expire between two
//! pages may be missing or included; all others appear exactly once.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name_of, time};
use crate::records::{self, Decided, JournalEntry, JournalRow, Key, Partition, Verdict, decode};
use crate::store::{Snapshot, StoreError, Table};

/// Maximum of decisions on a page; the decisions of one event stay on one page, which may exceed
/// this.
const DECISIONS_MAX: usize = 2000;
/// Maximum of journal bytes that are read for a page, even if few decisions match.
const READ_BYTES_MAX: usize = 8 << 20;

/// The decision of a row that has deferred communications which were judged again.
pub(super) const RELEASED: &str = "released";

/// Selects decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionQuery {
    /// Excludes decisions before this time.
    pub since: Option<Timestamp>,
    /// Excludes decisions at or after this time.
    pub until: Option<Timestamp>,
    /// Campaigns to include; empty includes all.
    #[serde(default)]
    pub campaigns: Vec<String>,
    /// The `next` cursor of the page before; the default starts at the beginning.
    #[serde(default)]
    pub from: Cursor,
}

/// Position in the journal: the next entry to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cursor {
    partition: u8,
    commit: u64,
    part: u16,
    entry: usize,
}

/// A page of decisions. `next` is the cursor of the next page; `None` on the last page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionPage {
    pub decisions: Vec<Decision>,
    pub next: Option<Cursor>,
}

/// One campaign's decision on one event or timer, or the release of its deferred communications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    pub at: Timestamp,
    pub event_id: String,
    /// The customer's key, a hash.
    pub customer: Option<String>,
    /// The event's code; `None` for a timer and for a release.
    pub event_code: Option<String>,
    pub timer: Option<String>,
    /// The due time of the timer or of the release; `None` for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    pub rule_set: u64,
    pub campaign: String,
    pub version: String,
    /// `answered`, `skipped`, `failed`, `held`, `missed`, `outside-rollout`, or `released`:
    /// deferred communications were judged again, or the event cancelled them, and no rule was
    /// called.
    pub decision: String,
    /// The reason, for decisions that are skipped, failed or missed.
    pub reason: Option<String>,
    pub communications: Vec<ProposedCommunication>,
    pub notes: Vec<String>,
    /// Names of the timers that the rule scheduled.
    pub scheduled: Vec<String>,
    pub cancelled: Vec<String>,
    pub state_changed: bool,
}

/// A communication that a rule asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposedCommunication {
    pub channel: String,
    pub template: String,
    /// `passed`, `deferred`, or the reason why a policy suppressed it.
    pub verdict: String,
    pub id: Option<String>,
    /// The name of the cap, the quiet hours or the control group that decided; `None` for other
    /// reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The circumstances of the verdict in plain words; `None` if there is nothing to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When a deferred communication is judged again; `None` for other verdicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The id of the event, or of the timer's firing, on which it was deferred; only in a decision
    /// `released`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// When it was deferred; only in a decision `released`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// Hash of the data, if the campaign has a shadow or is one; otherwise 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub data_hash: u64,
}

/// Reads a page of decisions.
///
/// # Errors
/// When a row can't be read.
pub fn decisions(
    snapshot: &dyn Snapshot,
    query: &DecisionQuery,
) -> Result<DecisionPage, StoreError> {
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
                Ok(entries) => {
                    read(entries, key, if is_first { entry } else { 0 }, query, &mut page)
                }
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
            // The whole row has been read.
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

/// Adds the matching decisions of a row, from entry number `skip` on, until the page is full.
fn read(
    entries: JournalRow,
    key: &[u8],
    skip: usize,
    query: &DecisionQuery,
    page: &mut DecisionPage,
) {
    for (number, entry) in entries.into_iter().enumerate().skip(skip) {
        if page.decisions.len() >= DECISIONS_MAX {
            page.next = cursor(key).map(|cursor| Cursor { entry: number, ..cursor });
            return;
        }
        let at = time(entry.now);
        if query.since.is_some_and(|since| at < since)
            || query.until.is_some_and(|until| at >= until)
        {
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
        records::Cause::Release { due } => (None, None, Some(time(*due))),
    };
    for outcome in entry.outcomes {
        if !(campaigns.is_empty()
            || campaigns.iter().any(|campaign| **campaign == *outcome.campaign))
        {
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
        Decided::Skipped { field, why } => {
            ("skipped", Some(Decided::skipped_as(&field, why.as_deref())))
        }
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
        Decided::Released { communications } => {
            let released = communications.into_iter().map(|released| {
                let records::Released { event, decided, communication } = released;
                ProposedCommunication {
                    event_id: Some(event.to_string()),
                    decided: Some(time(decided)),
                    ..sent(communication)
                }
            });
            decision.communications = released.collect();
            (RELEASED, None)
        }
    };
    decision.decision = name.to_owned();
    decision.reason = reason;
}

fn sent(one: records::Proposed) -> ProposedCommunication {
    let records::Proposed { id, channel, template, verdict, data_hash, policy, detail } = one;
    let until = match verdict {
        Verdict::Deferred { until } => Some(time(until)),
        Verdict::Passed | Verdict::Suppressed(_) => None,
    };
    ProposedCommunication {
        channel: super::lines::channel_name(channel),
        template: template.into(),
        verdict: match verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Deferred { .. } => "deferred".to_owned(),
            Verdict::Suppressed(reason) => reason.into(),
        },
        policy: policy.map(String::from),
        detail: detail.map(String::from),
        until,
        event_id: None,
        decided: None,
        id: Some(String::from(id)).filter(|id| !id.is_empty()),
        data_hash,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
