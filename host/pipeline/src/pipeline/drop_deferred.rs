//! Drops deferred messages at an operator's request. **Each message leaves its customer's row in
//! the commit that journals why**, as it does at a release.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::commit::EncodedJournalEntry;
use super::dispose::{Judgement, released};
use crate::deferred::DeferredSelection;
use crate::records::{
    Cause, CustomerRow, DeferredRow, JournalEntry, Key, Outcome, Partition, TimerKey, encode,
};
use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_event::{CustomerKey, EventId};
use hailer_policies::{Reason, Suppression, Verdict};
use hailer_store::{Changes, Snapshot, StoreError, Table};

/// The most messages of one page; the last customer's messages may exceed it.
const MESSAGES_MAX: usize = 1000;
/// The detail of the reason `cancelled` in the journal.
const BY_OPERATOR: &str = "by an operator";

/// The changes that drop some deferred messages.
#[derive(Debug)]
pub(super) struct DroppedDeferred {
    pub(super) changes: Changes,
    pub(super) journal: Vec<EncodedJournalEntry>,
    /// The campaign and the channel of each message.
    pub(super) messages: Vec<(Arc<str>, Channel)>,
    /// The key to go on behind; `None` at the end.
    pub(super) next: Option<Vec<u8>>,
}

/// The changes that drop the next selected messages at the moment `now`, under this rule set.
pub(super) fn drop_deferred(
    snapshot: &dyn Snapshot,
    selection: &DeferredSelection,
    after: &[u8],
    (now, rule_set): (Millis, u64),
) -> Result<DroppedDeferred, StoreError> {
    let mut dropped = DroppedDeferred {
        changes: Changes::default(),
        journal: Vec::new(),
        messages: Vec::new(),
        next: None,
    };
    // A customer is visited once for each release, and the snapshot does not show these changes.
    let mut done: HashSet<CustomerKey> = HashSet::new();
    dropped.next = selection.visit(snapshot, after, &mut |customer, _, row| {
        if done.insert(customer) {
            dropped.drop_of(customer, row, selection, (now, rule_set));
        }
        match dropped.messages.len() < MESSAGES_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(dropped)
}

impl DroppedDeferred {
    fn drop_of(
        &mut self,
        customer: CustomerKey,
        mut row: CustomerRow,
        selection: &DeferredSelection,
        (now, rule_set): (Millis, u64),
    ) {
        let (gone, left): (Vec<DeferredRow>, Vec<_>) =
            row.deferred.into_iter().partition(|message| selection.has(message));
        let Some(first) = gone.iter().min_by_key(|message| message.due) else { return };
        let entry = JournalEntry {
            event_id: EventId::of_timer(first.event, "", "drop", now),
            customer: Some(customer),
            cause: Cause::Release { due: first.due },
            now,
            rule_set,
            outcomes: gone.iter().map(outcome).collect(),
            again: None,
            named: None,
        };
        let partition = Partition::of_customer(customer);
        entry.encode(&mut |bytes| {
            self.journal.push(EncodedJournalEntry { partition, customer: Some(customer), bytes });
        });
        for message in gone {
            if !left.iter().any(|left| left.due == message.due) {
                let release = TimerKey::release(customer, message.due);
                self.changes.delete(Table::Timers, release.encode());
            }
            self.messages.push((message.campaign, message.channel));
        }
        row.deferred = left;
        match row.is_empty() {
            true => self.changes.delete(Table::Customers, Key::customer(customer)),
            false => self.changes.put(Table::Customers, Key::customer(customer), encode(&row)),
        }
    }
}

/// The outcome of a dropped message. No version of the campaign decided it.
fn outcome(message: &DeferredRow) -> Outcome {
    let why = Suppression { detail: Some(BY_OPERATOR.into()), ..Reason::Cancelled.into() };
    released(message, "", Judgement::of(Verdict::Suppress(why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Decided, decode};
    use hailer_event::Customer;
    use hailer_policies::NamedChannel;
    use hailer_store::{MemoryStore, Store};

    const NOW: Millis = 40;

    fn named(id: &str) -> Customer {
        Customer { customer_id: Some(id.into()), ..Customer::default() }
    }

    fn key(id: &str) -> CustomerKey {
        named(id).key().unwrap()
    }

    fn message(of: &str, campaign: &str, channel: Channel, due: Millis) -> DeferredRow {
        DeferredRow {
            due,
            decided: 1,
            discard_at: 1000,
            event: EventId::NONE,
            name: "OnPurchaseConfirm".into(),
            is_timer: false,
            campaign: campaign.into(),
            place: 0,
            channel,
            template: "thank-you".into(),
            data: "{}".into(),
            policy: "night".into(),
            recipient: named(of),
        }
    }

    /// A store with deferred messages: (customer, campaign, channel, due).
    fn store(messages: &[(&str, &str, Channel, Millis)]) -> MemoryStore {
        let store = MemoryStore::new("test");
        let mut changes = Changes::default();
        for customer in messages.iter().map(|(of, ..)| *of).collect::<HashSet<_>>() {
            let mut row = CustomerRow::default();
            for (of, campaign, channel, due) in messages.iter().filter(|(of, ..)| *of == customer) {
                row.deferred.push(message(of, campaign, *channel, *due));
                let release = TimerKey::release(key(of), *due);
                changes.put(Table::Timers, release.encode(), Vec::new());
            }
            changes.put(Table::Customers, Key::customer(key(customer)), encode(&row));
        }
        store.commit(changes).unwrap();
        store
    }

    /// Drops page by page, and returns the pages.
    fn drop_all(store: &MemoryStore, selection: &DeferredSelection) -> Vec<DroppedDeferred> {
        let mut pages = Vec::new();
        let mut after = Vec::new();
        loop {
            let snapshot = store.snapshot().unwrap();
            let mut page = drop_deferred(&*snapshot, selection, &after, (NOW, 3)).unwrap();
            store.commit(std::mem::take(&mut page.changes)).unwrap();
            let next = page.next.clone();
            pages.push(page);
            match next {
                Some(next) => after = next,
                None => return pages,
            }
        }
    }

    fn left(store: &MemoryStore, id: &str) -> Vec<String> {
        let row = CustomerRow::get(&*store.snapshot().unwrap(), key(id)).unwrap();
        row.deferred.iter().map(|message| message.campaign.to_string()).collect()
    }

    fn releases(store: &MemoryStore) -> Vec<(CustomerKey, Millis)> {
        let mut releases = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            let key = TimerKey::decode(key).unwrap();
            releases.push((key.customer, key.due));
            ControlFlow::Continue(())
        };
        let snapshot = store.snapshot().unwrap();
        snapshot.range(Table::Timers, &[], &[Partition::COUNT], visit).unwrap();
        releases.sort();
        releases
    }

    fn of_campaign(name: &str) -> DeferredSelection {
        DeferredSelection { campaign: Some(name.into()), ..DeferredSelection::default() }
    }

    #[test]
    fn only_the_selected_messages_go_and_each_has_a_journal_entry() {
        let store = store(&[
            ("7", "welcome", Channel::Push, 50),
            ("7", "nudge", Channel::Push, 50),
            ("7", "welcome", Channel::Sms, 60),
            ("8", "nudge", Channel::Push, 50),
        ]);
        let [page] = &drop_all(&store, &of_campaign("welcome"))[..] else { panic!("one page") };
        assert_eq!(page.messages.len(), 2);
        assert_eq!(
            (left(&store, "7"), left(&store, "8")),
            (vec!["nudge".into()], vec!["nudge".into()])
        );
        let mut expected = [(key("7"), 50), (key("8"), 50)];
        expected.sort();
        assert_eq!(releases(&store), expected, "a release stays while a message is due then");
        let [entry] = &page.journal[..] else { panic!("one entry") };
        let entry: JournalEntry = decode(Table::Journal, &entry.bytes).unwrap();
        assert_eq!((entry.customer, entry.now, entry.rule_set), (Some(key("7")), NOW, 3));
        assert_eq!(entry.cause, Cause::Release { due: 50 });
        for outcome in &entry.outcomes {
            let Decided::Released { communications } = &outcome.decided else { panic!() };
            let communication = &communications[0].communication;
            assert_eq!((&*outcome.campaign, &*communication.id), ("welcome", ""));
            assert_eq!(
                communication.verdict,
                crate::records::Verdict::Suppressed("cancelled".into())
            );
            assert_eq!(communication.detail.as_deref(), Some(BY_OPERATOR));
        }
        assert_eq!(entry.outcomes.len(), 2);
    }

    #[test]
    fn a_row_that_keeps_nothing_is_deleted() {
        let store = store(&[("7", "welcome", Channel::Push, 50)]);
        drop_all(&store, &DeferredSelection::default());
        let row = store.snapshot().unwrap().get(Table::Customers, &Key::customer(key("7")));
        assert_eq!((row.unwrap(), releases(&store)), (None, vec![]));
    }

    #[test]
    fn a_selection_has_a_channel_and_a_customer() {
        let messages = [
            ("7", "welcome", Channel::Push, 50),
            ("7", "welcome", Channel::Sms, 50),
            ("8", "welcome", Channel::Sms, 50),
        ];
        let sms = Some(NamedChannel(Channel::Sms));
        let of_seven = Some("7".to_owned());
        for (selection, expected) in [
            (DeferredSelection { channel: sms, ..DeferredSelection::default() }, [1, 0]),
            (
                DeferredSelection { customer: of_seven.clone(), ..DeferredSelection::default() },
                [0, 1],
            ),
            (
                DeferredSelection {
                    channel: sms,
                    customer: of_seven,
                    ..DeferredSelection::default()
                },
                [1, 1],
            ),
        ] {
            let store = store(&messages);
            drop_all(&store, &selection);
            assert_eq!(["7", "8"].map(|id| left(&store, id).len()), expected, "{selection:?}");
        }
    }

    #[test]
    fn pages_are_bounded_and_drop_each_message_once() {
        // Few messages of many customers, so that no other bound ends a page.
        let ids: Vec<String> = (0..300).map(|id| id.to_string()).collect();
        let of = |id| (0..8).map(move |due| (id, "welcome", Channel::Push, 50 + due));
        let messages: Vec<_> = ids.iter().flat_map(|id| of(id.as_str())).collect();
        let store = store(&messages);
        let pages = drop_all(&store, &DeferredSelection::default());
        assert!(pages.len() > 1);
        assert!(pages.iter().all(|page| page.messages.len() < MESSAGES_MAX + 8));
        assert_eq!(pages.iter().map(|page| page.messages.len()).sum::<usize>(), messages.len());
        assert_eq!(releases(&store), []);
    }
}
