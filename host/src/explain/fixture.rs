//! Builds stores with a history, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::wire::Channel;

use crate::clock::Millis;
use crate::event::{Customer, CustomerKey, EventId};
use crate::records::{
    Cause, CustomerRow, Decided, DeferredRow, FailureKey, FailureRow, FailureStatus, JournalEntry,
    Key, OutboxItem, Outcome, Partition, PendingTimer, Proposed, RedirectRow, Released, TimerKey,
    TrailKey, Verdict, Work, encode,
};
use crate::store::{Changes, MemoryStore, Store, Table};

/// 2026-03-01 08:00 UTC.
pub(crate) const EIGHT: Millis = 1_772_352_000_000;
pub(crate) const MINUTE: Millis = 60_000;

/// The key of a customer with this `customerId`.
pub(crate) fn customer(id: &str) -> CustomerKey {
    named(id).key().unwrap()
}

fn named(id: &str) -> Customer {
    Customer { customer_id: Some(id.into()), ..Customer::default() }
}

/// A store to which a test appends history.
pub(crate) struct History {
    pub(crate) store: MemoryStore,
    commit: u64,
}

impl History {
    pub(crate) fn new() -> History {
        History { store: MemoryStore::new("test"), commit: 0 }
    }

    /// Commits journal entries; the communications with the ids in `waiting` stay in the outbox.
    pub(crate) fn commit(&mut self, entries: Vec<JournalEntry>, waiting: &[&str]) {
        self.commit += 1;
        let mut changes = Changes::new();
        let mut rows = BTreeMap::<Partition, Vec<JournalEntry>>::new();
        for entry in entries {
            let customer = entry.customer.unwrap();
            let partition = Partition::of_customer(customer);
            let trail = TrailKey { period: self.commit / 2 * 2, customer, commit: self.commit };
            changes.put(Table::Trail, trail.encode(), Vec::new());
            if !waiting.is_empty() {
                let row: Vec<_> = waiting.iter().map(|id| item(id)).collect();
                changes.put(Table::Outbox, Key::commit(partition, self.commit, 0), encode(&row));
            }
            rows.entry(partition).or_default().push(entry);
        }
        for (partition, row) in rows {
            // A row always has at least one entry; a row that is too large continues in the next
            // part.
            let (first, second) = row.split_at(row.len().div_ceil(2));
            for (part, entries) in
                (0..).zip([first, second]).filter(|(_, entries)| !entries.is_empty())
            {
                changes.put(
                    Table::Journal,
                    Key::commit(partition, self.commit, part),
                    encode(&entries.to_vec()),
                );
            }
        }
        self.store.commit(changes).unwrap();
    }

    pub(crate) fn timer(&mut self, of: &str, campaign: &str, name: &str, due: Millis) {
        self.change_row(of, |row| {
            let pending = PendingTimer {
                name: name.into(),
                due,
                looked_at: due,
                set_by: event(0),
                recipient: Customer::default(),
            };
            row.change(&campaign.into(), |campaign| campaign.timers.push(pending));
        });
        let key =
            TimerKey { due, customer: customer(of), campaign: campaign.into(), timer: name.into() };
        self.put(Table::Timers, key.encode(), Vec::new());
    }

    /// Keeps a failure, held or missed event of the campaign: the event of that minute.
    pub(crate) fn keep(&mut self, of: &str, campaign: &str, minute: u8, status: FailureStatus) {
        let of = customer(of);
        let partition = Partition::of_customer(of);
        let key = FailureKey {
            partition,
            customer: Some(of),
            campaign: campaign.into(),
            number: minute.into(),
        };
        let work =
            Work::Event { id: event(minute), code: "OnPurchaseConfirm".into(), recipient: None };
        let row = FailureRow { work, now: EIGHT, status, is_queued: false, bytes: 0 };
        self.put(Table::Failures, key.encode(), encode(&row));
    }

    /// Merges a customer into another.
    pub(crate) fn merge(&mut self, from: &str, to: &str) {
        let redirect = RedirectRow { to: customer(to), customer: named(to) };
        self.put(Table::Redirects, Key::redirect(customer(from)), redirect.encode());
        self.change_row(to, |row| row.absorbed.push(customer(from)));
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        let mut changes = Changes::new();
        changes.put(table, key, value);
        self.store.commit(changes).unwrap();
    }

    /// Defers a push message that was decided on the event of that minute.
    pub(crate) fn defer(&mut self, of: &str, campaign: &str, minute: u8, due: Millis) {
        self.change_row(of, |row| row.deferred.push(deferred(of, campaign, minute, due)));
        self.put(Table::Timers, TimerKey::release(customer(of), due).encode(), Vec::new());
    }

    pub(crate) fn change_row(&mut self, of: &str, change: impl FnOnce(&mut CustomerRow)) {
        let key = Key::customer(customer(of));
        let row = self.store.snapshot().unwrap().get(Table::Customers, &key).unwrap();
        let mut row =
            row.map_or_else(CustomerRow::default, |row| rmp_serde::from_slice(&row).unwrap());
        change(&mut row);
        self.put(Table::Customers, key, encode(&row));
    }
}

/// A push message that was decided on the event of that minute, and waits until `due`.
pub(crate) fn deferred(of: &str, campaign: &str, minute: u8, due: Millis) -> DeferredRow {
    let decided = EIGHT + Millis::from(minute) * MINUTE - 10 * 60 * MINUTE;
    DeferredRow {
        due,
        decided,
        discard_at: decided + 14 * 60 * MINUTE,
        event: event(minute),
        name: "OnPurchaseConfirm".into(),
        is_timer: false,
        campaign: campaign.into(),
        place: 0,
        channel: Channel::Push,
        template: "thank-you".into(),
        data: "{}".into(),
        policy: "night".into(),
        recipient: named(of),
    }
}

pub(crate) fn event(number: u8) -> EventId {
    rmp_serde::from_slice(&encode(&customer(&format!("event {number}")))).unwrap()
}

/// A journal entry for an event, `minute` minutes after [`EIGHT`].
pub(crate) fn entry(of: &str, minute: Millis, code: &str, outcomes: Vec<Outcome>) -> JournalEntry {
    JournalEntry {
        event_id: event(minute as u8),
        customer: Some(customer(of)),
        cause: Cause::Event { code: code.into() },
        now: EIGHT + minute * MINUTE,
        rule_set: 3,
        outcomes,
        again: None,
        named: None,
    }
}

pub(crate) fn outcome(campaign: &str, decided: Decided) -> Outcome {
    Outcome { campaign: campaign.into(), version: Arc::from("1.3.0+9f3ac1d2"), decided }
}

/// An answer with communications, given as ids and verdicts.
pub(crate) fn sends(communications: &[(&str, Verdict)], notes: &[&str]) -> Decided {
    let proposed = |(id, verdict): &(&str, Verdict)| judged(id, verdict.clone(), None, None);
    answers(communications.iter().map(proposed).collect(), notes)
}

/// A communication on which a policy has decided.
pub(crate) fn judged(
    id: &str,
    verdict: Verdict,
    policy: Option<&str>,
    detail: Option<&str>,
) -> Proposed {
    Proposed {
        id: id.into(),
        channel: 1,
        data_hash: 0,
        template: "thank-you".into(),
        verdict,
        policy: policy.map(Into::into),
        detail: detail.map(Into::into),
    }
}

/// A communication that was deferred on the event of that minute and is judged again.
pub(crate) fn released(minute: u16, communication: Proposed) -> Decided {
    let decided = EIGHT + Millis::from(minute) * MINUTE;
    let communications = vec![Released { event: event(minute as u8), decided, communication }];
    Decided::Released { communications }
}

pub(crate) fn answers(communications: Vec<Proposed>, notes: &[&str]) -> Decided {
    Decided::Answered {
        communications,
        notes: notes.iter().map(|note| (*note).into()).collect(),
        state_changed: false,
        scheduled: Vec::new(),
        cancelled: Vec::new(),
    }
}

fn item(id: &str) -> OutboxItem {
    OutboxItem {
        place: 0,
        id: id.into(),
        routing_key: "key".into(),
        body: Bytes::new(),
        created_ms: EIGHT,
    }
}
