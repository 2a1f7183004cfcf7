//! Erases a customer: deletes from the store what is kept about them, and about every customer
//! merged with them.
//!
//! The erasure is done in steps. Each is a commit of bounded size; the last is the one that leaves
//! nothing. It claims no more than it does: data that it cannot reach is counted or listed
//! ([`OUT_OF_REACH`]).
//!
//! **A refusal of consent outlives the erasure**, unless it is to be forgotten as well. Policies
//! may allow a channel as long as the consent is unknown, so forgetting a refusal could be
//! consenting.
//! Refusals are kept under the key of each merged customer, as the merges themselves are erased.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::customers::{CustomerIdKind, merged_customers};
use crate::records::{
    CustomerRow, Decided, FailureDelta, JournalEntry, JournalRow, Key, OutboxRow, Partition,
    Progress, TimerKey, TrailKey, Verdict, decode, encode, visit_failures,
};
use hailer_event::CustomerKey;
use hailer_policies::PolicyRow;
use hailer_store::{Changes, Snapshot, Store, StoreError, Table};

/// The most bytes that one step deletes or rewrites; the last row of the journal may exceed it.
const STEP_BYTES_MAX: usize = 16 << 20;

/// Places outside the store that may still name a customer.
pub const OUT_OF_REACH: &str = "\
out of reach: communications that were already published; events that are still in the queue, in \
files or in a recording (`record.days`); dead letters in their queue or file; backups of the store;
and, until they expire, hashes of events, which recognise copies and name no customer. The \
write-ahead log (`hailer.wal`) keeps up to the last
32 MiB of commits, and tables keep deleted rows until they are merged. Both are overwritten as the \
store is used, and at once by `hailer store compact` on a stopped engine";

/// The request to erase a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EraseRequest {
    /// An id, as the source writes it.
    pub customer: String,
    /// The kind of the id; `None` to try each kind.
    pub by: Option<CustomerIdKind>,
    /// Whether refusals of consent are erased, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forget_refusals: bool,
}

/// Counts of the erased rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// The kind of id that matched.
    pub found_by: Option<CustomerIdKind>,
    /// The customer, and every customer merged with them.
    pub customers: u64,
    pub states: u64,
    pub timers: u64,
    /// Messages that waited for the end of quiet hours; they are never sent.
    #[serde(default)]
    pub deferred: u64,
    /// Refusals of consent that are kept, by subscription and channel.
    #[serde(default)]
    pub refusals_kept: u64,
    pub failures: u64,
    /// Events and timers in the journal.
    pub decisions: u64,
    /// Communications that were in the outbox at that moment; they are still published.
    pub waiting: u64,
    /// Whether nothing is left.
    pub is_whole: bool,
}

/// One step of an erasure.
pub(crate) struct Step {
    pub(crate) changes: Changes,
    pub(crate) deltas: Vec<FailureDelta>,
    pub(crate) journal_bytes_freed: u64,
    /// How many deferred messages are deleted.
    pub(crate) deferred: u64,
    pub(crate) erased: Erased,
}

impl Erased {
    /// Adds the counts of earlier steps.
    #[must_use]
    pub fn after(self, before: Option<Erased>) -> Erased {
        let Some(before) = before else { return self };
        Erased {
            found_by: before.found_by,
            customers: self.customers.max(before.customers),
            states: self.states + before.states,
            timers: self.timers + before.timers,
            deferred: self.deferred + before.deferred,
            refusals_kept: self.refusals_kept.max(before.refusals_kept),
            failures: self.failures + before.failures,
            decisions: self.decisions + before.decisions,
            waiting: self.waiting + before.waiting,
            is_whole: self.is_whole,
        }
    }
}

/// Erases a customer in a store that no engine uses; `None` if the store knows no such customer.
///
/// # Errors
/// The store cannot be read or written. What was erased before the error stays erased.
pub fn erase(store: &dyn Store, request: &EraseRequest) -> Result<Option<Erased>, StoreError> {
    let mut erased: Option<Erased> = None;
    loop {
        let snapshot = store.snapshot()?;
        let Some(Step { mut changes, deltas, journal_bytes_freed, deferred, erased: more }) =
            step(&*snapshot, request)?
        else {
            return Ok(erased);
        };
        let progress = snapshot.get(Table::Meta, Progress::KEY)?;
        let mut progress: Progress =
            progress.map_or(Ok(Progress::default()), |row| decode(Table::Meta, &row))?;
        progress.journal_bytes = progress.journal_bytes.saturating_sub(journal_bytes_freed);
        progress.deferred = progress.deferred.saturating_sub(deferred);
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

/// The next step; `None` if the store knows no such customer. The customer's own row is deleted in
/// the last step, so that an interrupted erasure can be requested again.
///
/// A customer with a kept refusal stays known. Another erasure then finds nothing to delete, or the
/// refusal.
pub(crate) fn step(
    snapshot: &dyn Snapshot,
    request: &EraseRequest,
) -> Result<Option<Step>, StoreError> {
    let Some((by, merged_customers)) = merged_customers(snapshot, &request.customer, request.by)?
    else {
        return Ok(None);
    };
    let mut step = Step {
        changes: Changes::default(),
        deltas: Vec::new(),
        journal_bytes_freed: 0,
        deferred: 0,
        erased: Erased {
            found_by: Some(by),
            customers: merged_customers.len() as u64,
            ..Erased::default()
        },
    };
    if !step.erase_journal(snapshot, &merged_customers)?
        || !step.erase_failures(snapshot, &merged_customers)?
    {
        return Ok(Some(step));
    }
    let mut rows = Vec::new();
    for &person in &merged_customers {
        rows.push((person, CustomerRow::get(snapshot, person)?));
    }
    let mut refusals = PolicyRow::default();
    if !request.forget_refusals {
        rows.iter().for_each(|(_, row)| refusals.unite(refusals_in(row)));
    }
    step.erased.refusals_kept = refusals.consents.len() as u64;
    let mut is_whole = true;
    for (person, row) in rows {
        is_whole &= step.erase_row(person, &row, &merged_customers, &refusals);
    }
    step.erased.is_whole = is_whole;
    Ok(Some(step))
}

impl Step {
    /// Removes the customers' entries from the journal's rows, which also hold entries of others.
    /// Returns false if more remain.
    fn erase_journal(
        &mut self,
        snapshot: &dyn Snapshot,
        merged_customers: &[CustomerKey],
    ) -> Result<bool, StoreError> {
        let mut rows: BTreeMap<Vec<u8>, JournalRow> = BTreeMap::new();
        let mut bytes = 0;
        let mut is_whole = true;
        'merged_customers: for &person in merged_customers {
            let partition = Partition::of_customer(person);
            let mut commit = u64::MAX;
            while let Some(last) = TrailKey::before(snapshot, person, commit)? {
                if bytes >= STEP_BYTES_MAX {
                    is_whole = false;
                    break 'merged_customers;
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
                self.journal_bytes_freed =
                    self.journal_bytes_freed.saturating_sub(row.len() as u64);
                self.changes.put(Table::Journal, key, row);
            }
        }
        Ok(is_whole)
    }

    /// Deletes the customers' failures. Returns false if more remain.
    fn erase_failures(
        &mut self,
        snapshot: &dyn Snapshot,
        merged_customers: &[CustomerKey],
    ) -> Result<bool, StoreError> {
        let mut keys_bytes = 0;
        for &person in merged_customers {
            let partition = Partition::of_customer(person);
            let (from, to) = Key::failures_of(partition, person);
            visit_failures(snapshot, (&from, &to), &mut |key, row| {
                if keys_bytes >= STEP_BYTES_MAX {
                    return Ok(ControlFlow::Break(()));
                }
                let encoded = key.encode();
                keys_bytes += encoded.len();
                self.changes.delete(Table::Failures, encoded);
                // Only failures of one customer need a body.
                if let Some(id) = row.body_of() {
                    self.changes.delete(Table::Bodies, Key::body(partition, id));
                }
                let (campaign, bytes) = (key.campaign, -(row.bytes as i64));
                self.deltas.push(FailureDelta {
                    campaign,
                    count: -1,
                    bytes,
                    is_missed: row.status.is_missed(),
                });
                self.erased.failures += 1;
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(keys_bytes < STEP_BYTES_MAX)
    }

    /// Deletes a customer's row, timers and redirect. The row keeps the refusals, if there are any.
    /// Returns false if the row names merged customers that this step does not erase; it then keeps
    /// their names, too.
    fn erase_row(
        &mut self,
        person: CustomerKey,
        row: &CustomerRow,
        merged_customers: &[CustomerKey],
        refusals: &PolicyRow,
    ) -> bool {
        self.changes.delete(Table::Redirects, Key::redirect(person));
        for campaign in row.campaigns() {
            self.erased.states += u64::from(campaign.state.is_some());
            for timer in &campaign.timers {
                self.changes
                    .delete(Table::Timers, TimerKey::of(person, &campaign.name, timer).encode());
                self.erased.timers += 1;
            }
        }
        for message in &row.deferred {
            self.changes.delete(Table::Timers, TimerKey::release(person, message.due).encode());
            self.deferred += 1;
            self.erased.deferred += 1;
        }
        let absorbed: Vec<CustomerKey> = row
            .absorbed
            .iter()
            .copied()
            .filter(|other| !merged_customers.contains(other))
            .collect();
        let is_whole = absorbed.is_empty();
        let mut rest = CustomerRow::of_absorbed(absorbed);
        rest.policy.clone_from(refusals);
        if rest.is_empty() {
            self.changes.delete(Table::Customers, Key::customer(person));
        } else {
            self.changes.put(Table::Customers, Key::customer(person), encode(&rest));
        }
        is_whole
    }
}

/// The refusals of consent in a row, and nothing else that policies keep.
fn refusals_in(row: &CustomerRow) -> PolicyRow {
    let refusals = row.policy.consents.iter().filter(|consent| !consent.is_yes);
    PolicyRow { consents: refusals.cloned().collect(), ..PolicyRow::default() }
}

/// The ids of the communications that an entry led to.
fn communications(entry: JournalEntry) -> impl Iterator<Item = Box<str>> {
    let proposed = entry.outcomes.into_iter().flat_map(|outcome| match outcome.decided {
        Decided::Answered { communications, .. } => communications,
        Decided::Released { communications } => {
            communications.into_iter().map(|released| released.communication).collect()
        }
        _ => Vec::new(),
    });
    proposed.filter(|one| one.verdict == Verdict::Passed).map(|one| one.id)
}

/// The number of these communications of a commit that are still in the outbox.
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
        let count =
            items.map(|items| items.iter().filter(|item| passed.contains(&item.id)).count() as u64);
        match (count, &mut waiting) {
            (Ok(count), Ok(waiting)) => *waiting += count,
            (Err(error), waiting) => *waiting = Err(error),
            (_, Err(_)) => {}
        }
        if waiting.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    waiting
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::records::{
        Cause, DeferredRow, OutboxItem, Outcome, Proposed, RedirectRow, Released,
    };
    use hailer_event::{Customer, EventId};
    use hailer_policies::{Consent, ConsentSource, Counted};
    use hailer_store::MemoryStore;

    const SMS: u8 = 2;
    const MAIL: u8 = 0;

    fn named(id: &str) -> Customer {
        Customer { customer_id: Some(id.into()), ..Customer::default() }
    }

    fn key(id: &str) -> CustomerKey {
        named(id).key().unwrap()
    }

    fn request(id: &str, forget_refusals: bool) -> EraseRequest {
        EraseRequest { customer: id.into(), by: None, forget_refusals }
    }

    fn consent(channel: u8, is_yes: bool) -> Consent {
        let (subscription, source) = (Arc::from("Mailings"), ConsentSource::Import);
        Consent { subscription, channel, is_yes, at: 7, source }
    }

    /// A row with these consents, a time zone, and what counts towards caps.
    fn row(consents: Vec<Consent>) -> CustomerRow {
        let counted = vec![Counted {
            at: 1,
            campaign: "welcome".into(),
            event: EventId::NONE,
            channels: hailer_policies::Channels::default(),
        }];
        let mut row = CustomerRow::default();
        row.policy = PolicyRow { consents, zone: Some("Asia/Omsk".into()), counted };
        row
    }

    /// A row with messages that are due at these times.
    fn waiting_row(of: &str, due: &[i64]) -> CustomerRow {
        let mut row = CustomerRow::default();
        row.deferred = due.iter().map(|due| deferred(of, *due)).collect();
        row
    }

    /// A message that waits until `due`.
    fn deferred(of: &str, due: i64) -> DeferredRow {
        DeferredRow {
            due,
            decided: 1,
            discard_at: due,
            event: EventId::NONE,
            name: "OnPurchaseConfirm".into(),
            is_timer: false,
            campaign: "welcome".into(),
            place: 0,
            channel: hailer_abi::wire::Channel::Sms,
            template: "thank-you".into(),
            data: "{}".into(),
            policy: "night".into(),
            recipient: named(of),
        }
    }

    fn put(store: &MemoryStore, table: Table, key: Vec<u8>, value: Vec<u8>) {
        let mut changes = Changes::default();
        changes.put(table, key, value);
        store.commit(changes).unwrap();
    }

    fn keep(store: &MemoryStore, id: &str, row: &CustomerRow) {
        for message in &row.deferred {
            let release = TimerKey::release(key(id), message.due).encode();
            put(store, Table::Timers, release, Vec::new());
        }
        put(store, Table::Customers, Key::customer(key(id)), encode(row));
    }

    fn merge(store: &MemoryStore, from: &str, to: &str) {
        let redirect = RedirectRow { to: key(to), customer: named(to) };
        put(store, Table::Redirects, Key::redirect(key(from)), redirect.encode());
        let mut row = kept(store, to);
        row.absorbed.push(key(from));
        keep(store, to, &row);
    }

    fn kept(store: &MemoryStore, id: &str) -> CustomerRow {
        CustomerRow::get(&*store.snapshot().unwrap(), key(id)).unwrap()
    }

    fn rows_of(store: &MemoryStore, table: Table) -> usize {
        let mut rows = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        store.snapshot().unwrap().range(table, &[0], &[u8::MAX; 64], count).unwrap();
        rows
    }

    #[test]
    fn refusals_of_consent_outlive_an_erasure_and_nothing_else_does() {
        let store = MemoryStore::new("test");
        keep(&store, "7", &row(vec![consent(MAIL, true), consent(SMS, false)]));
        keep(&store, "8", &row(vec![consent(MAIL, true)]));
        let erased = erase(&store, &request("7", false)).unwrap().unwrap();
        assert_eq!((erased.refusals_kept, erased.is_whole), (1, true));
        let policy = PolicyRow { consents: vec![consent(SMS, false)], ..PolicyRow::default() };
        let mut refused = CustomerRow::default();
        refused.policy = policy;
        assert_eq!(kept(&store, "7"), refused);
        // Another erasure keeps the refusal, until it is to be forgotten.
        assert_eq!(erase(&store, &request("7", false)).unwrap().unwrap().refusals_kept, 1);
        assert_eq!(erase(&store, &request("7", true)).unwrap().unwrap().refusals_kept, 0);
        assert_eq!(erase(&store, &request("7", true)).unwrap(), None, "nothing is known any more");
        let erased = erase(&store, &request("8", false)).unwrap().unwrap();
        assert_eq!(erased.refusals_kept, 0);
        assert_eq!(rows_of(&store, Table::Customers), 0, "a consent is erased");
    }

    #[test]
    fn each_of_the_merged_customers_keeps_the_refusals_of_all_of_them() {
        let merged = |forget_refusals| {
            let store = MemoryStore::new("test");
            keep(&store, "b", &row(vec![consent(MAIL, true), consent(SMS, false)]));
            keep(&store, "c", &row(vec![consent(MAIL, false), consent(SMS, true)]));
            merge(&store, "a", "b");
            merge(&store, "b", "c");
            let erased = erase(&store, &request("a", forget_refusals)).unwrap().unwrap();
            assert_eq!((erased.customers, erased.is_whole), (3, true));
            assert_eq!(rows_of(&store, Table::Redirects), 0);
            (erased.refusals_kept, store)
        };
        let (refusals_kept, store) = merged(false);
        assert_eq!(refusals_kept, 2);
        let consents = vec![consent(MAIL, false), consent(SMS, false)];
        let policy = PolicyRow { consents, ..PolicyRow::default() };
        for id in ["a", "b", "c"] {
            assert_eq!(kept(&store, id).policy, policy, "{id}");
            assert_eq!(kept(&store, id).absorbed, []);
        }
        let (refusals_kept, store) = merged(true);
        assert_eq!((refusals_kept, rows_of(&store, Table::Customers)), (0, 0));
    }

    #[test]
    fn deferred_messages_are_deleted_and_counted_with_their_releases() {
        let store = MemoryStore::new("test");
        keep(&store, "7", &waiting_row("7", &[50, 50, 60]));
        keep(&store, "8", &waiting_row("8", &[50]));
        let progress = Progress { deferred: 4, ..Progress::default() };
        put(&store, Table::Meta, Progress::KEY.to_vec(), encode(&progress));
        let erased = erase(&store, &request("7", false)).unwrap().unwrap();
        assert_eq!(erased.deferred, 3);
        assert_eq!(rows_of(&store, Table::Timers), 1, "the release of the other customer");
        assert_eq!(kept(&store, "8").deferred.len(), 1);
        let progress = store.snapshot().unwrap().get(Table::Meta, Progress::KEY).unwrap().unwrap();
        let progress: Progress = decode(Table::Meta, &progress).unwrap();
        assert_eq!(progress.deferred, 1);
    }

    #[test]
    fn a_released_message_in_the_outbox_is_counted_as_waiting() {
        let store = MemoryStore::new("test");
        let (customer, commit) = (key("7"), 5);
        let partition = Partition::of_customer(customer);
        let communication = Proposed {
            id: "a1".into(),
            channel: SMS,
            template: "thank-you".into(),
            verdict: Verdict::Passed,
            data_hash: 0,
            policy: None,
            detail: None,
        };
        let communications = vec![Released { event: EventId::NONE, decided: 1, communication }];
        let outcome = Outcome {
            campaign: "welcome".into(),
            version: "1".into(),
            decided: Decided::Released { communications },
        };
        let entry = JournalEntry {
            event_id: EventId::NONE,
            customer: Some(customer),
            cause: Cause::Release { due: 50 },
            now: 50,
            rule_set: 1,
            outcomes: vec![outcome],
            again: None,
            named: None,
        };
        let key = || Key::commit(partition, commit, 0);
        put(&store, Table::Journal, key(), encode(&vec![entry]));
        let trail = TrailKey { period: 4, customer, commit };
        put(&store, Table::Trail, trail.encode(), Vec::new());
        let item = OutboxItem {
            place: 0,
            id: "a1".into(),
            routing_key: "key".into(),
            body: bytes::Bytes::new(),
            created_ms: 50,
        };
        put(&store, Table::Outbox, key(), encode(&vec![item]));
        let erased = erase(&store, &request("7", false)).unwrap().unwrap();
        assert_eq!((erased.decisions, erased.waiting), (1, 1));
    }
}
