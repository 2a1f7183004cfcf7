//! Erasing a customer: what is kept about them, and about everybody who has become them, found in the store and taken away.
//!
//! It goes step by step, each a commit of bounded size; a step that finds nothing is the end. It refuses to claim more than it does: what it
//! can't reach is counted and named ([`OUT_OF_REACH`]).

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::event::CustomerKey;
use crate::records::{
    CustomerRow, Decided, FailureDelta, JournalEntry, JournalRow, Key, OutboxRow, Partition, Progress, TimerKey,
    TrailKey, Verdict, decode, encode, visit_failures,
};
use crate::store::{Changes, Snapshot, Store, StoreError, Table};
use crate::story::{By, everybody};

/// What one step may take away or write anew, in bytes; one row of the journal may come on top.
const STEP_BYTES_MAX: usize = 16 << 20;

/// Where a customer may be known beyond the store.
pub const OUT_OF_REACH: &str = "\
out of reach: communications that have gone out; events that are still in the queue, in files or in a recording (`record.days`); dead letters in their queue or file; backups of the store;
and, until their time is over, hashes of events, by which copies are recognised, and which name nobody. The store's write-ahead log (`hailer.wal`) keeps up to the last
32 MiB of what was committed, and tables keep removed rows until they are merged: both go as the store is used, and at once by `hailer store compact` on a stopped engine";

/// Who is to be erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Whose {
    /// An id, as the source writes it.
    pub customer: String,
    /// Which id it is; `None` to try each.
    pub by: Option<By>,
}

/// What was erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Which id it was.
    pub found_by: Option<By>,
    /// The customer, and whoever has become them.
    pub customers: u64,
    pub states: u64,
    pub timers: u64,
    pub failures: u64,
    /// Events and timers in the journal.
    pub decisions: u64,
    /// Communications that were in the outbox at that moment, and go out.
    pub waiting: u64,
    /// Nothing is left.
    pub is_whole: bool,
}

/// A part of it.
pub(crate) struct Step {
    pub(crate) changes: Changes,
    pub(crate) deltas: Vec<FailureDelta>,
    pub(crate) journal_bytes_freed: u64,
    pub(crate) erased: Erased,
}

impl Erased {
    /// With what was erased before.
    #[must_use]
    pub fn after(self, before: Option<Erased>) -> Erased {
        let Some(before) = before else { return self };
        Erased {
            found_by: before.found_by,
            customers: self.customers.max(before.customers),
            states: self.states + before.states,
            timers: self.timers + before.timers,
            failures: self.failures + before.failures,
            decisions: self.decisions + before.decisions,
            waiting: self.waiting + before.waiting,
            is_whole: self.is_whole,
        }
    }
}

/// Erases what is kept about a customer in a store that no engine uses; `None` if that is nothing.
///
/// # Errors
/// When the store can't be read or written. What was erased until then is erased.
pub fn erase(store: &dyn Store, whose: &Whose) -> Result<Option<Erased>, StoreError> {
    let mut erased: Option<Erased> = None;
    loop {
        let snapshot = store.snapshot()?;
        let Some(Step { mut changes, deltas, journal_bytes_freed, erased: more }) = step(&*snapshot, whose)? else {
            return Ok(erased);
        };
        let progress = snapshot.get(Table::Meta, Progress::KEY)?;
        let mut progress: Progress = progress.map_or(Ok(Progress::default()), |row| decode(Table::Meta, &row))?;
        progress.journal_bytes = progress.journal_bytes.saturating_sub(journal_bytes_freed);
        for delta in deltas {
            progress.count(delta);
        }
        changes.put(Table::Meta, Progress::KEY.to_vec(), encode(&progress));
        store.commit(changes)?;
        let so_far = more.after(erased);
        if so_far.is_whole {
            return Ok(Some(so_far));
        }
        erased = Some(so_far);
    }
}

/// The next step; `None` if nothing is known of such a customer. The customer's own row goes with the last, so that an erasure
/// that was interrupted can be asked for again.
pub(crate) fn step(snapshot: &dyn Snapshot, whose: &Whose) -> Result<Option<Step>, StoreError> {
    let Some((by, everybody)) = everybody(snapshot, &whose.customer, whose.by)? else { return Ok(None) };
    let mut step = Step {
        changes: Changes::default(),
        deltas: Vec::new(),
        journal_bytes_freed: 0,
        erased: Erased { found_by: Some(by), customers: everybody.len() as u64, ..Erased::default() },
    };
    if !step.erase_journal(snapshot, &everybody)? || !step.erase_failures(snapshot, &everybody)? {
        return Ok(Some(step));
    }
    let mut is_whole = true;
    for &person in &everybody {
        is_whole &= step.erase_row(snapshot, person, &everybody)?;
    }
    step.erased.is_whole = is_whole;
    Ok(Some(step))
}

impl Step {
    /// Takes their entries out of the journal's rows, which they share with others. False if there is more.
    fn erase_journal(&mut self, snapshot: &dyn Snapshot, everybody: &[CustomerKey]) -> Result<bool, StoreError> {
        let mut rows: BTreeMap<Vec<u8>, JournalRow> = BTreeMap::new();
        let mut bytes = 0;
        let mut is_whole = true;
        'everybody: for &person in everybody {
            let partition = Partition::of_customer(person);
            let mut commit = u64::MAX;
            while let Some(last) = TrailKey::before(snapshot, person, commit)? {
                if bytes >= STEP_BYTES_MAX {
                    is_whole = false;
                    break 'everybody;
                }
                commit = last.commit;
                self.changes.delete(Table::Trail, last.encode());
                let mut passed: HashSet<Box<str>> = HashSet::new();
                let (from, to) = Key::parts_of_commit(partition, commit);
                let mut broken = None;
                snapshot.range(Table::Journal, &from, &to, &mut |key, row| {
                    bytes += row.len();
                    let known = match rows.remove(key) {
                        Some(row) => Ok(row),
                        None => {
                            self.journal_bytes_freed += row.len() as u64;
                            decode::<JournalRow>(Table::Journal, row)
                        }
                    };
                    match known {
                        Ok(mut entries) => {
                            let theirs = |entry: &mut JournalEntry| entry.customer == Some(person);
                            for entry in entries.extract_if(.., theirs) {
                                self.erased.decisions += 1;
                                passed.extend(communications(entry));
                            }
                            rows.insert(key.to_vec(), entries);
                            ControlFlow::Continue(())
                        }
                        Err(error) => {
                            broken = Some(error);
                            ControlFlow::Break(())
                        }
                    }
                })?;
                if let Some(error) = broken {
                    return Err(error);
                }
                self.erased.waiting += waiting(snapshot, partition, commit, &passed)?;
            }
        }
        for (key, entries) in rows {
            if entries.is_empty() {
                self.changes.delete(Table::Journal, key);
            } else {
                let row = encode(&entries);
                self.journal_bytes_freed = self.journal_bytes_freed.saturating_sub(row.len() as u64);
                self.changes.put(Table::Journal, key, row);
            }
        }
        Ok(is_whole)
    }

    /// False if there is more.
    fn erase_failures(&mut self, snapshot: &dyn Snapshot, everybody: &[CustomerKey]) -> Result<bool, StoreError> {
        let mut keys_bytes = 0;
        for &person in everybody {
            let partition = Partition::of_customer(person);
            let (from, to) = Key::failures_of(partition, person);
            visit_failures(snapshot, (&from, &to), &mut |key, row| {
                if keys_bytes >= STEP_BYTES_MAX {
                    return Ok(ControlFlow::Break(()));
                }
                let encoded = key.encode();
                keys_bytes += encoded.len();
                self.changes.delete(Table::Failures, encoded);
                // All that need a body are failures of one customer.
                if let Some(id) = row.body_of() {
                    self.changes.delete(Table::Bodies, Key::body(partition, id));
                }
                let (campaign, bytes) = (key.campaign, -(row.bytes as i64));
                self.deltas.push(FailureDelta { campaign, count: -1, bytes, is_missed: row.status.is_missed() });
                self.erased.failures += 1;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(keys_bytes < STEP_BYTES_MAX)
    }

    /// False if the row names customers who are not among those that are erased in this step, and stays for them.
    fn erase_row(
        &mut self,
        snapshot: &dyn Snapshot,
        person: CustomerKey,
        everybody: &[CustomerKey],
    ) -> Result<bool, StoreError> {
        self.changes.delete(Table::Redirects, Key::redirect(person));
        let row = CustomerRow::get(snapshot, person)?;
        for campaign in row.campaigns() {
            self.erased.states += u64::from(campaign.state.is_some());
            for timer in &campaign.timers {
                self.changes.delete(Table::Timers, TimerKey::of(person, &campaign.name, timer).encode());
                self.erased.timers += 1;
            }
        }
        let absorbed: Vec<CustomerKey> =
            row.absorbed.iter().copied().filter(|other| !everybody.contains(other)).collect();
        if absorbed.is_empty() {
            self.changes.delete(Table::Customers, Key::customer(person));
            return Ok(true);
        }
        let rest = encode(&CustomerRow::of_absorbed(absorbed));
        self.changes.put(Table::Customers, Key::customer(person), rest);
        Ok(false)
    }
}

/// The ids of the communications that came of an entry.
fn communications(entry: JournalEntry) -> impl Iterator<Item = Box<str>> {
    let proposed = entry.outcomes.into_iter().flat_map(|outcome| match outcome.decided {
        Decided::Answered { communications, .. } => communications,
        _ => Vec::new(),
    });
    proposed.filter(|one| one.verdict == Verdict::Passed).map(|one| one.id)
}

/// How many of these communications of a commit are in the outbox.
fn waiting(
    snapshot: &dyn Snapshot,
    partition: Partition,
    commit: u64,
    passed: &HashSet<Box<str>>,
) -> Result<u64, StoreError> {
    if passed.is_empty() {
        return Ok(0);
    }
    let (from, to) = Key::parts_of_commit(partition, commit);
    let mut waiting = Ok(0);
    snapshot.range(Table::Outbox, &from, &to, &mut |_, row| {
        let items = decode::<OutboxRow>(Table::Outbox, row);
        let count = items.map(|items| items.iter().filter(|item| passed.contains(&item.id)).count() as u64);
        match (count, &mut waiting) {
            (Ok(count), Ok(waiting)) => *waiting += count,
            (Err(error), waiting) => *waiting = Err(error),
            (_, Err(_)) => {}
        }
        if waiting.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    waiting
}
