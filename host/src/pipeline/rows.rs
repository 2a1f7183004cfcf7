//! The customers' rows while a batch is decided: what a rule is shown of its state, and what it changes of its state and timers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::memory::Memory;
use crate::clock::Millis;
use crate::engine::{CampaignSpec, StateChange};
use crate::event::{Customer, CustomerKey, EventId};
use crate::store::records::{CampaignRow, CustomerRow, Key, PendingTimer, StateRow, TimerKey, encode};
use crate::store::{Changes, StoreError, Table};

const DAY_MS: Millis = 86_400_000;
/// A timer that nobody can take now (its campaign is off, or its version lacks it) is looked at again after this, and then ever later.
const PARKED_MIN_MS: Millis = 5_000;
const PARKED_MAX_MS: Millis = 3_600_000;

/// When a timer is looked at that waits behind a failure: its queue calls it.
const NEVER: Millis = Millis::MAX;

/// The rows that a batch has touched.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: HashMap<CustomerKey, Row>,
    /// What follows from the rows: the index of timers by the time at which they are due, and redirects.
    index: Changes,
}

#[derive(Debug)]
struct Row {
    row: CustomerRow,
    is_changed: bool,
}

/// The state that a rule made of two.
#[derive(Debug)]
pub(super) struct United {
    pub(super) campaign: Arc<str>,
    pub(super) state: Option<StateRow>,
}

/// What one answer changes.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state: StateChange,
    /// The last word about each timer.
    pub(super) timers: Vec<TimerChange>,
}

/// A timer that is set to be due then, or cancelled.
pub(super) type TimerChange = (Box<str>, Option<Millis>);

impl Rows {
    /// Makes sure that a customer's row is here.
    pub(super) fn load(&mut self, memory: &Memory, customer: CustomerKey) -> Result<(), StoreError> {
        if let Entry::Vacant(place) = self.rows.entry(customer) {
            place.insert(Row { row: memory.customer(customer)?, is_changed: false });
        }
        Ok(())
    }

    /// What a campaign keeps about a customer whose row is here.
    pub(super) fn campaign(&self, customer: CustomerKey, campaign: &str) -> Option<&CampaignRow> {
        self.rows.get(&customer)?.row.campaign(campaign)
    }

    /// A rule's state as it is at `now`, with the version that wrote it: one that has outlived its time is gone.
    pub(super) fn state(&self, customer: CustomerKey, spec: &CampaignSpec, now: Millis) -> Option<(u32, &[u8])> {
        let StateRow { version, bytes, changed_ms } = self.campaign(customer, &spec.name)?.state.as_ref()?;
        let ttl_ms = spec.state_ttl_days.map(|days| Millis::from(days) * DAY_MS);
        ttl_ms.is_none_or(|ttl| now - changed_ms < ttl).then_some((*version, bytes))
    }

    /// Takes a timer that is due; `None` if it is not pending any more, or not then.
    pub(super) fn fire(&mut self, timer: &TimerKey) -> Option<PendingTimer> {
        self.index.delete(Table::Timers, timer.encode());
        let campaign: Arc<str> = (&*timer.campaign).into();
        self.change(timer.customer, &campaign, |row| {
            row.timer(&timer.timer).filter(|pending| pending.looked_at == timer.due)?;
            row.take_timer(&timer.timer)
        })
    }

    /// Puts off a timer that nobody can take now.
    pub(super) fn park(&mut self, timer: &TimerKey, now: Millis) {
        self.index.delete(Table::Timers, timer.encode());
        let campaign: Arc<str> = (&*timer.campaign).into();
        let parked = self.change(timer.customer, &campaign, |row| {
            let pending = row.timers.iter_mut().find(|pending| *pending.name == *timer.timer);
            let pending = pending.filter(|pending| pending.looked_at == timer.due)?;
            pending.looked_at = now + (now - pending.due).clamp(PARKED_MIN_MS, PARKED_MAX_MS);
            Some(pending.looked_at)
        });
        if let Some(due) = parked {
            self.index.put(Table::Timers, TimerKey { due, ..timer.clone() }.encode(), Vec::new());
        }
    }

    /// Has a timer that is due wait behind a failure; `None` if it is not pending any more, or not then. It stays pending: what it waits for
    /// may cancel it.
    pub(super) fn hold(&mut self, timer: &TimerKey) -> Option<PendingTimer> {
        self.index.delete(Table::Timers, timer.encode());
        let campaign: Arc<str> = (&*timer.campaign).into();
        let held = self.change(timer.customer, &campaign, |row| {
            let pending = row.timers.iter_mut().find(|pending| *pending.name == *timer.timer);
            let pending = pending.filter(|pending| pending.looked_at == timer.due)?;
            pending.looked_at = NEVER;
            Some(pending.clone())
        })?;
        self.index.put(Table::Timers, TimerKey { due: NEVER, ..timer.clone() }.encode(), Vec::new());
        Some(held)
    }

    /// Takes a timer that has waited behind a failure; false if it was cancelled meanwhile, or set anew.
    pub(super) fn fire_held(&mut self, timer: &TimerKey, held: &PendingTimer) -> bool {
        let campaign: Arc<str> = (&*timer.campaign).into();
        let fired = self.change(timer.customer, &campaign, |row| {
            row.timer(&held.name).filter(|pending| (pending.set_by, pending.due) == (held.set_by, held.due))?;
            row.take_timer(&held.name)
        });
        if let Some(fired) = &fired {
            self.index.delete(Table::Timers, TimerKey { due: fired.looked_at, ..timer.clone() }.encode());
        }
        fired.is_some()
    }

    /// One more, or one less, waits behind a failure of a campaign, itself included.
    pub(super) fn change_held(&mut self, customer: CustomerKey, campaign: &Arc<str>, by: i32) {
        self.change(customer, campaign, |row| row.held = row.held.saturating_add_signed(by));
    }

    /// Changes what a campaign keeps about a customer. Timers need somebody to send to.
    pub(super) fn keep(
        &mut self,
        customer: CustomerKey,
        recipient: Option<&Customer>,
        spec: &CampaignSpec,
        (set_by, now): (EventId, Millis),
        kept: Kept,
    ) {
        let Kept { state, timers } = kept;
        let index = &mut self.index;
        let row = self.rows.get_mut(&customer).expect("the row of whom is decided about is here");
        row.is_changed = true;
        row.row.change(&spec.name, |row| {
            match state {
                StateChange::Unchanged => {}
                StateChange::Set(bytes) => {
                    // Only a rule that has a version can return a state.
                    let version = spec.manifest.state_version.unwrap_or_default();
                    row.state = Some(StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: now });
                }
                StateChange::Remove => row.state = None,
            }
            for (name, due) in timers {
                let key = |due| TimerKey { due, customer, campaign: (&*spec.name).into(), timer: name.clone() };
                if let Some(replaced) = row.take_timer(&name) {
                    index.delete(Table::Timers, key(replaced.looked_at).encode());
                }
                if let (Some(due), Some(recipient)) = (due, recipient) {
                    index.put(Table::Timers, key(due).encode(), Vec::new());
                    let recipient = recipient.clone();
                    row.timers.push(PendingTimer { name, due, looked_at: due, set_by, recipient });
                }
            }
        });
    }

    /// Moves what is kept about a customer who goes to the one who stays, and has the one meant by the other from now on. Of a timer that both have
    /// the earlier stays.
    pub(super) fn unite(&mut self, from: CustomerKey, to: CustomerKey, recipient: &Customer, united: Vec<United>) {
        let gone = self.rows.get_mut(&from).expect("the row of whom is decided about is here");
        gone.is_changed = true;
        let gone = std::mem::take(&mut gone.row);
        let row = self.rows.get_mut(&to).expect("the row of whom is decided about is here");
        row.is_changed = true;
        let index = &mut self.index;
        for kept in gone.campaigns() {
            let key = |customer, timer: &PendingTimer| {
                let (campaign, name) = ((&*kept.name).into(), timer.name.clone());
                TimerKey { due: timer.looked_at, customer, campaign, timer: name }.encode()
            };
            row.row.change(&kept.name, |row| {
                if row.state.is_none() {
                    row.state.clone_from(&kept.state);
                }
                row.held += kept.held;
                for timer in &kept.timers {
                    index.delete(Table::Timers, key(from, timer));
                    let own = row.take_timer(&timer.name);
                    let moved = PendingTimer { recipient: recipient.clone(), ..timer.clone() };
                    let stays = match own {
                        Some(own) if own.due <= timer.due => own,
                        Some(own) => {
                            index.delete(Table::Timers, key(to, &own));
                            moved
                        }
                        None => moved,
                    };
                    index.put(Table::Timers, key(to, &stays), Vec::new());
                    row.timers.push(stays);
                }
            });
        }
        for United { campaign, state } in united {
            row.row.change(&campaign, |row| row.state = state);
        }
        row.row.absorbed.retain(|absorbed| *absorbed != from && *absorbed != to);
        row.row.absorbed.extend(gone.absorbed.iter().filter(|absorbed| **absorbed != to));
        row.row.absorbed.push(from);
        // Whoever stays is meant by their own name again, even if they had become somebody else once.
        index.delete(Table::Redirects, Key::redirect(to));
        index.put(Table::Redirects, Key::redirect(from), encode(&to));
    }

    fn change<T>(
        &mut self,
        customer: CustomerKey,
        campaign: &Arc<str>,
        change: impl FnOnce(&mut CampaignRow) -> T,
    ) -> T {
        let row = self.rows.get_mut(&customer).expect("the row of whom is decided about is here");
        row.is_changed = true;
        row.row.change(campaign, change)
    }

    /// Hands over what has changed, to be committed.
    pub(super) fn flush(&mut self, memory: &mut Memory) -> Changes {
        for (customer, row) in self.rows.drain().filter(|(_, row)| row.is_changed) {
            memory.keep(customer, row.row);
        }
        std::mem::take(&mut self.index)
    }
}
