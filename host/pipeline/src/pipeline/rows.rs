//! The customers' rows while a batch is decided: the states that rules read, and the changes that
//! rules make to states and timers.

mod deferred;
mod merge;

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::HashMap;

use crate::records::{
    CUSTOMER_BYTES_MAX, CampaignRow, CustomerRow, PendingTimer, StateRow, TimerKey, timer_bytes,
};
use hailer_base::clock::Millis;
use hailer_engine::{CampaignSpec, GuestFault, StateChange, Trial};
use hailer_event::{Customer, CustomerKey, EventId};
use hailer_store::{Changes, StoreError, Table};

pub(super) use merge::{Union, UnitedTimers};

const DAY_MS: Millis = 86_400_000;
/// A parked timer cannot be taken now: its campaign is off, or its version lacks the timer. The
/// engine looks at it again after the minimum, and then after ever longer intervals up to the
/// maximum.
const PARKED_MIN_MS: Millis = 5_000;
const PARKED_MAX_MS: Millis = 3_600_000;

/// The time at which the engine looks at a timer held behind a failure. The failure's queue calls
/// such a timer.
pub(super) const NEVER: Millis = Millis::MAX;

/// The rows that a batch has loaded.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: HashMap<CustomerKey, Row>,
    /// The size of the rows when they were read, plus the states set since, in bytes.
    bytes: usize,
    /// The rows' entries in other tables: the index of timers by due time, and redirects.
    index: Changes,
}

#[derive(Debug)]
struct Row {
    row: CustomerRow,
    is_changed: bool,
}

/// The change to a timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerStep {
    /// The timer does not change: it is no longer pending, or is pending for another time.
    Leave,
    /// The timer fires and is no longer pending.
    Fire,
    /// The timer stays pending, because no handler can take it now; the engine tries it again
    /// later.
    Park { now: Millis },
    /// The timer stays pending behind a failure, because that failure's retry may cancel the timer.
    Hold,
}

/// The changes of one answer.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state: StateChange,
    /// The final change of each timer.
    pub(super) timers: Vec<TimerChange>,
}

/// A timer's name, and the time at which the timer is set to fire; `None` cancels the timer.
pub(super) type TimerChange = (Box<str>, Option<Millis>);

impl Rows {
    /// Loads a customer's row with `read`, unless the row is loaded already.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub(super) fn load(
        &mut self,
        customer: CustomerKey,
        read: impl FnOnce() -> Result<CustomerRow, StoreError>,
    ) -> Result<(), StoreError> {
        if let Entry::Vacant(place) = self.rows.entry(customer) {
            let row = read()?;
            self.bytes += row.bytes();
            place.insert(Row { row, is_changed: false });
        }
        Ok(())
    }

    /// The approximate size of the loaded rows, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Checks that one answer's changes fit into a customer's row. An answer that does not make its
    /// campaign's part of the row larger always fits.
    ///
    /// # Errors
    /// The fault of a rule whose answer makes the row too large.
    pub(super) fn has_room(
        &self,
        customer: CustomerKey,
        recipient: &Customer,
        spec: &CampaignSpec,
        state: &StateChange,
        timers: &[TimerChange],
    ) -> Result<(), GuestFault> {
        if timers.is_empty() && !matches!(state, StateChange::Set(_)) {
            return Ok(());
        }
        let Some(row) = self.row(customer) else { return Ok(()) };
        let own = row.campaign(spec.acts_for());
        let before = own.map_or(0, CampaignRow::bytes);
        let replaced = own.map_or(0, |own| {
            let of = |timer: &PendingTimer| timer_bytes(&timer.name, &timer.recipient);
            let is_changed =
                |timer: &&PendingTimer| timers.iter().any(|(name, _)| *name == timer.name);
            let state_bytes =
                if matches!(state, StateChange::Unchanged) { 0 } else { own.state_bytes() };
            state_bytes + own.timers.iter().filter(is_changed).map(of).sum::<usize>()
        });
        let set = timers
            .iter()
            .filter(|(_, due)| due.is_some())
            .map(|(name, _)| timer_bytes(name, recipient));
        let state_bytes = if let StateChange::Set(bytes) = state { bytes.len() } else { 0 };
        let after = before - replaced + state_bytes + set.sum::<usize>();
        let got = row.bytes() - before + after;
        if after > before && got > CUSTOMER_BYTES_MAX {
            return Err(GuestFault::CustomerTooLarge { got, limit_bytes: CUSTOMER_BYTES_MAX });
        }
        Ok(())
    }

    /// A customer's row; `None` if it is not loaded.
    pub(super) fn row(&self, customer: CustomerKey) -> Option<&CustomerRow> {
        self.rows.get(&customer).map(|row| &row.row)
    }

    /// Removes a row. Dry runs keep their rows here and hand customers over to one another.
    pub(super) fn take(&mut self, customer: CustomerKey) -> Option<CustomerRow> {
        self.rows.remove(&customer).map(|row| row.row)
    }

    /// Inserts a row that another dry run has handed over.
    pub(super) fn put(&mut self, customer: CustomerKey, row: CustomerRow) {
        self.rows.insert(customer, Row { row, is_changed: false });
    }

    /// Drops the changes that an engine would commit, and these customers' rows if they are empty.
    /// For dry runs, which commit nothing.
    pub(super) fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey>) {
        self.index = Changes::default();
        for customer in customers {
            if self.rows.get(&customer).is_some_and(|row| row.row.is_empty()) {
                self.rows.remove(&customer);
            }
        }
    }

    /// A campaign's part of a loaded row; `None` without one.
    pub(super) fn campaign(&self, customer: CustomerKey, campaign: &str) -> Option<&CampaignRow> {
        self.rows.get(&customer)?.row.campaign(campaign)
    }

    /// A campaign's state at `now`, with the version that wrote it. `None` if there is no state or
    /// the state has expired.
    pub(super) fn state(
        &self,
        customer: CustomerKey,
        spec: &CampaignSpec,
        now: Millis,
    ) -> Option<(u32, &[u8])> {
        let StateRow { version, bytes, changed_ms } =
            self.kept_for(customer, spec)?.state.as_ref()?;
        let ttl_ms = spec.state_ttl_days.map(|days| Millis::from(days) * DAY_MS);
        ttl_ms.is_none_or(|ttl| now - changed_ms < ttl).then_some((*version, bytes))
    }

    /// The row that a rule reads. A shadow that has no row yet for the customer in this trial reads
    /// its campaign's row.
    fn kept_for(&self, customer: CustomerKey, spec: &CampaignSpec) -> Option<&CampaignRow> {
        let Some(trial) = spec.shadow() else { return self.campaign(customer, spec.acts_for()) };
        let own = self.campaign(customer, &spec.name).filter(|row| row.follows == Some(trial.mark));
        own.or_else(|| self.campaign(customer, &trial.of))
    }

    /// Copies its campaign's state and timers of a customer to a shadow, unless that has been done
    /// in this trial. After the copy, the two rows change independently. Returns false if the
    /// customer's row has no room; then the shadow begins with no state, and is still compared.
    #[must_use]
    pub(super) fn follow(
        &mut self,
        customer: CustomerKey,
        shadow: &Arc<str>,
        trial: &Trial,
    ) -> bool {
        let row = loaded(&mut self.rows, customer);
        if row.row.campaign(shadow).is_some_and(|own| own.follows == Some(trial.mark)) {
            return true;
        }
        row.is_changed = true;
        let takes = row.row.campaign(&trial.of).map_or(0, CampaignRow::bytes);
        let has_room = row.row.bytes() + takes + shadow.len() <= CUSTOMER_BYTES_MAX;
        let of = row.row.campaign(&trial.of).filter(|_| has_room);
        let state = of.and_then(|of| of.state.clone());
        // The copies start unparked and not held: those conditions belong to the campaign alone.
        let afresh = |timer: &PendingTimer| PendingTimer { looked_at: timer.due, ..timer.clone() };
        let timers: Vec<PendingTimer> =
            of.map(|of| of.timers.iter().map(afresh).collect()).unwrap_or_default();
        let index = &mut self.index;
        let key = |timer: &PendingTimer| TimerKey::of(customer, shadow, timer).encode();
        row.row.change(shadow, |own| {
            own.timers.iter().for_each(|timer| index.delete(Table::Timers, key(timer)));
            timers.iter().for_each(|timer| index.put(Table::Timers, key(timer), Vec::new()));
            (own.state, own.timers, own.follows) = (state, timers, Some(trial.mark));
        });
        has_room
    }

    /// A due timer, if it is still pending for that time.
    pub(super) fn pending(&self, timer: &TimerKey) -> Option<&PendingTimer> {
        let pending = self.campaign(timer.customer, &timer.campaign)?.timer(&timer.timer)?;
        (pending.looked_at == timer.due).then_some(pending)
    }

    /// Whether a timer held behind a failure is still pending. It may have been cancelled or set
    /// again meanwhile.
    pub(super) fn is_held(
        &self,
        customer: CustomerKey,
        campaign: &str,
        held: &PendingTimer,
    ) -> bool {
        let pending = self.campaign(customer, campaign).and_then(|row| row.timer(&held.name));
        pending.is_some_and(|pending| (pending.set_by, pending.due) == (held.set_by, held.due))
    }

    /// Applies the decision about a timer.
    pub(super) fn step(&mut self, timer: &TimerKey, step: TimerStep) {
        self.index.delete(Table::Timers, timer.encode());
        let campaign: Arc<str> = (&*timer.campaign).into();
        let looked_at = self.change(timer.customer, &campaign, |row| {
            let pending = row.timers.iter_mut().find(|pending| *pending.name == *timer.timer)?;
            if pending.looked_at != timer.due {
                return None;
            }
            pending.looked_at = match step {
                TimerStep::Leave => return None,
                TimerStep::Fire => {
                    row.take_timer(&timer.timer);
                    return None;
                }
                TimerStep::Park { now } => {
                    now + (now - pending.due).clamp(PARKED_MIN_MS, PARKED_MAX_MS)
                }
                TimerStep::Hold => NEVER,
            };
            Some(pending.looked_at)
        });
        if let Some(due) = looked_at {
            self.index.put(Table::Timers, TimerKey { due, ..timer.clone() }.encode(), Vec::new());
        }
    }

    /// Changes the number of failures and held events in a campaign's queue by `by`.
    pub(super) fn change_held(&mut self, customer: CustomerKey, campaign: &Arc<str>, by: i32) {
        self.change(customer, campaign, |row| row.held = row.held.saturating_add_signed(by));
    }

    /// Applies one answer's changes to a campaign's row. A timer is set only if there is a
    /// recipient.
    pub(super) fn keep(
        &mut self,
        customer: CustomerKey,
        recipient: Option<&Customer>,
        spec: &CampaignSpec,
        (set_by, now): (EventId, Millis),
        kept: Kept,
    ) {
        let Kept { state, timers } = kept;
        let (index, row_bytes) = (&mut self.index, &mut self.bytes);
        let row = loaded(&mut self.rows, customer);
        row.is_changed = true;
        let campaign = spec.acts_for();
        row.row.change(campaign, |row| {
            match state {
                StateChange::Unchanged => {}
                StateChange::Set(bytes) => {
                    *row_bytes += bytes.len();
                    // Only a rule with a state version can return a state.
                    let version = spec.manifest.state_version.unwrap_or_default();
                    row.state =
                        Some(StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: now });
                }
                StateChange::Remove => row.state = None,
            }
            for change in timers {
                set_timer(row, index, (customer, campaign), change, recipient, set_by);
            }
        });
    }

    fn change<T>(
        &mut self,
        customer: CustomerKey,
        campaign: &Arc<str>,
        change: impl FnOnce(&mut CampaignRow) -> T,
    ) -> T {
        let row = loaded(&mut self.rows, customer);
        row.is_changed = true;
        row.row.change(campaign, change)
    }

    /// Passes each changed row to `keep`. Returns the changes of other tables, to be committed with
    /// the rows.
    pub(super) fn flush(&mut self, mut keep: impl FnMut(CustomerKey, CustomerRow)) -> Changes {
        self.bytes = 0;
        for (customer, row) in self.rows.drain().filter(|(_, row)| row.is_changed) {
            keep(customer, row.row);
        }
        std::mem::take(&mut self.index)
    }
}

/// A row that the runner loaded before the decision.
fn loaded(rows: &mut HashMap<CustomerKey, Row>, customer: CustomerKey) -> &mut Row {
    rows.get_mut(&customer).expect("the customer's row was loaded before the decision")
}

/// Sets or cancels a timer. A timer is set only if there is a recipient.
fn set_timer(
    row: &mut CampaignRow,
    index: &mut Changes,
    (customer, campaign): (CustomerKey, &Arc<str>),
    (name, due): TimerChange,
    recipient: Option<&Customer>,
    set_by: EventId,
) {
    let key = |pending: &PendingTimer| TimerKey::of(customer, campaign, pending).encode();
    let replaced = row.take_timer(&name);
    let set = due.zip(recipient);
    // Most timers are set again for the same time, so their index row can stay.
    let stands =
        replaced.as_ref().zip(set).is_some_and(|(replaced, (due, _))| replaced.looked_at == due);
    if let Some(replaced) = replaced.filter(|_| !stands) {
        index.delete(Table::Timers, key(&replaced));
    }
    if let Some((due, recipient)) = set {
        let pending =
            PendingTimer { name, due, looked_at: due, set_by, recipient: recipient.clone() };
        if !stands {
            index.put(Table::Timers, key(&pending), Vec::new());
        }
        row.timers.push(pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::verbose;
    use hailer_engine::{Limits, Sandbox};

    #[test]
    fn a_timer_that_is_set_for_the_same_moment_again_leaves_the_index_alone() {
        let sandbox = Sandbox::new(Limits::default()).unwrap();
        let campaign = verbose(&sandbox, true);
        let customer = CustomerKey::from_bytes([7; 16]);
        let recipient = Customer::default();
        let mut rows = Rows::default();
        rows.load(customer, || Ok(CustomerRow::default())).unwrap();
        let mut touches = |due: Option<Millis>, set_by| {
            let kept = Kept { state: StateChange::Unchanged, timers: vec![("t".into(), due)] };
            rows.keep(customer, Some(&recipient), &campaign.spec, (set_by, 0), kept);
            let pending = rows
                .campaign(customer, "verbose")
                .and_then(|row| row.timer("t"))
                .map(|timer| timer.set_by);
            assert_eq!(pending, due.map(|_| set_by), "the last that set it counts");
            std::mem::take(&mut rows.index).touches(Table::Timers)
        };
        let event =
            |number: u64| EventId::of_timer(EventId::NONE, "verbose", "t", number as Millis);
        assert!(touches(Some(5000), event(1)));
        assert!(!touches(Some(5000), event(2)), "the row is there");
        assert!(touches(Some(6000), event(3)));
        assert!(touches(None, event(4)));
    }
}
