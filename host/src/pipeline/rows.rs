//! The customers' rows while a batch is decided: what a rule is shown of its state, and what it changes of its state and timers.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::HashMap;

use super::memory::Memory;
use super::view::View;
use crate::clock::Millis;
use crate::engine::{CampaignSpec, GuestFault, StateChange, Trial};
use crate::event::{Customer, CustomerKey, EventId};
use crate::metrics;
use crate::records::{
    ABSORBED_BYTES, CUSTOMER_BYTES_MAX, CampaignRow, CustomerRow, Key, PendingTimer, RedirectRow, StateRow, TimerKey,
    timer_bytes,
};
use crate::store::{Changes, StoreError, Table};

const DAY_MS: Millis = 86_400_000;
/// A timer that nobody can take now (its campaign is off, or its version lacks it) is looked at again after this, and then ever later.
const PARKED_MIN_MS: Millis = 5_000;
const PARKED_MAX_MS: Millis = 3_600_000;

/// When a timer is looked at that waits behind a failure: its queue calls it.
pub(super) const NEVER: Millis = Millis::MAX;

/// The rows that a batch has touched.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: HashMap<CustomerKey, Row>,
    /// What the rows took when they were read, and what was kept since, in bytes.
    bytes: usize,
    /// What follows from the rows: the index of timers by the time at which they are due, and redirects.
    index: Changes,
}

#[derive(Debug)]
struct Row {
    row: CustomerRow,
    is_changed: bool,
}

/// How what one campaign keeps about two customers becomes one.
#[derive(Clone, Debug)]
pub(super) struct Union {
    pub(super) campaign: Arc<str>,
    pub(super) state: Option<StateRow>,
    pub(super) timers: UnitedTimers,
    /// What the rule makes of its timers; it comes last.
    pub(super) changes: Vec<TimerChange>,
}

/// Which pending timers the customer who remains has after a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitedTimers {
    /// The timers of both; of one that both have, the earlier. For modules whose merges know nothing of timers.
    Earlier,
    /// The timers of both; of one that both have, that of the customer who remains.
    Both,
    /// The timers of the customer who remains.
    OfRemaining,
    /// The timers of the customer who goes.
    OfGone,
}

/// What becomes of a timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerStep {
    /// It was not pending any more, or not then.
    Leave,
    /// It is not pending any more from now on.
    Fire,
    /// Nobody can take it now: it is looked at again later.
    Park { now: Millis },
    /// It waits behind a failure, and stays pending: what it waits for may cancel it.
    Hold,
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
    pub(super) fn load(&mut self, view: &View, customer: CustomerKey) -> Result<(), StoreError> {
        if let Entry::Vacant(place) = self.rows.entry(customer) {
            let row = view.customer(customer)?;
            self.bytes += row.bytes();
            place.insert(Row { row, is_changed: false });
        }
        Ok(())
    }

    /// What the rows that are here take, about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room in a customer's row for what one answer wants kept. An answer that keeps no more than before always has room.
    ///
    /// # Errors
    /// The fault of a rule that wants more.
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
            let is_changed = |timer: &&PendingTimer| timers.iter().any(|(name, _)| *name == timer.name);
            let state_bytes = if matches!(state, StateChange::Unchanged) { 0 } else { own.state_bytes() };
            state_bytes + own.timers.iter().filter(is_changed).map(of).sum::<usize>()
        });
        let set = timers.iter().filter(|(_, due)| due.is_some()).map(|(name, _)| timer_bytes(name, recipient));
        let state_bytes = if let StateChange::Set(bytes) = state { bytes.len() } else { 0 };
        let after = before - replaced + state_bytes + set.sum::<usize>();
        let got = row.bytes() - before + after;
        if after > before && got > CUSTOMER_BYTES_MAX {
            return Err(GuestFault::CustomerTooLarge { got, limit_bytes: CUSTOMER_BYTES_MAX });
        }
        Ok(())
    }

    /// The size of the row that unites two customers, if no rule makes a state larger. In bytes.
    pub(super) fn bytes_together(&self, from: CustomerKey, to: CustomerKey) -> usize {
        let bytes = |customer| self.row(customer).map_or(0, CustomerRow::bytes);
        // Of two states of one campaign one is left.
        let has_both = |row: &&CampaignRow| self.campaign(to, &row.name).is_some_and(|other| other.state.is_some());
        let theirs = self.row(from).map(CustomerRow::campaigns).unwrap_or_default();
        let twice: usize = theirs.iter().filter(has_both).map(CampaignRow::state_bytes).sum();
        bytes(from) + bytes(to) + ABSORBED_BYTES - twice
    }

    /// What is kept about a customer whose row is here.
    pub(super) fn row(&self, customer: CustomerKey) -> Option<&CustomerRow> {
        self.rows.get(&customer).map(|row| &row.row)
    }

    /// Takes a row out, or puts one in: in a rehearsal, where rows stay here, a customer may move to another.
    pub(super) fn take(&mut self, customer: CustomerKey) -> Option<CustomerRow> {
        self.rows.remove(&customer).map(|row| row.row)
    }

    pub(super) fn put(&mut self, customer: CustomerKey, row: CustomerRow) {
        self.rows.insert(customer, Row { row, is_changed: false });
    }

    /// Forgets what would be committed, and the row of whom nothing is kept about: for a rehearsal, which commits nothing.
    pub(super) fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey>) {
        self.index = Changes::default();
        for customer in customers {
            if self.rows.get(&customer).is_some_and(|row| row.row.is_empty()) {
                self.rows.remove(&customer);
            }
        }
    }

    /// What a campaign keeps about a customer whose row is here.
    pub(super) fn campaign(&self, customer: CustomerKey, campaign: &str) -> Option<&CampaignRow> {
        self.rows.get(&customer)?.row.campaign(campaign)
    }

    /// A rule's state as it is at `now`, with the version that wrote it: one that has outlived its time is gone.
    pub(super) fn state(&self, customer: CustomerKey, spec: &CampaignSpec, now: Millis) -> Option<(u32, &[u8])> {
        let StateRow { version, bytes, changed_ms } = self.kept_for(customer, spec)?.state.as_ref()?;
        let ttl_ms = spec.state_ttl_days.map(|days| Millis::from(days) * DAY_MS);
        ttl_ms.is_none_or(|ttl| now - changed_ms < ttl).then_some((*version, bytes))
    }

    /// What a rule goes by. A shadow that meets the customer for the first time goes by what its campaign keeps.
    fn kept_for(&self, customer: CustomerKey, spec: &CampaignSpec) -> Option<&CampaignRow> {
        let Some(trial) = spec.shadow() else { return self.campaign(customer, spec.acts_for()) };
        let own = self.campaign(customer, &spec.name).filter(|row| row.follows == Some(trial.mark));
        own.or_else(|| self.campaign(customer, &trial.of))
    }

    /// Lets a shadow take over what its campaign keeps about a customer, state and timers, unless it has done so before. From then on each of the two goes its
    /// own way.
    pub(super) fn follow(&mut self, customer: CustomerKey, shadow: &Arc<str>, trial: &Trial) {
        let row = self.rows.get_mut(&customer).expect("the row of whom is decided about is here");
        if row.row.campaign(shadow).is_some_and(|own| own.follows == Some(trial.mark)) {
            return;
        }
        row.is_changed = true;
        let takes = row.row.campaign(&trial.of).map_or(0, CampaignRow::bytes);
        let has_room = row.row.bytes() + takes + shadow.len() <= CUSTOMER_BYTES_MAX;
        if !has_room {
            // It begins with nothing, and is compared all the same.
            ::metrics::counter!(metrics::CUSTOMERS_FULL_TOTAL, "refused" => "shadow").increment(1);
            tracing::warn!(
                campaign = &**shadow,
                "a shadow begins without its campaign's state: too much is kept about the customer"
            );
        }
        let of = row.row.campaign(&trial.of).filter(|_| has_room);
        let state = of.and_then(|of| of.state.clone());
        // Those that wait behind a failure, or for their campaign, do so for the campaign alone.
        let afresh = |timer: &PendingTimer| PendingTimer { looked_at: timer.due, ..timer.clone() };
        let timers: Vec<PendingTimer> = of.map(|of| of.timers.iter().map(afresh).collect()).unwrap_or_default();
        let index = &mut self.index;
        let key = |timer: &PendingTimer| TimerKey::of(customer, shadow, timer).encode();
        row.row.change(shadow, |own| {
            own.timers.iter().for_each(|timer| index.delete(Table::Timers, key(timer)));
            timers.iter().for_each(|timer| index.put(Table::Timers, key(timer), Vec::new()));
            (own.state, own.timers, own.follows) = (state, timers, Some(trial.mark));
        });
    }

    /// A timer that is due, if it is still pending, and then.
    pub(super) fn pending(&self, timer: &TimerKey) -> Option<&PendingTimer> {
        let pending = self.campaign(timer.customer, &timer.campaign)?.timer(&timer.timer)?;
        (pending.looked_at == timer.due).then_some(pending)
    }

    /// Whether a timer that has waited behind a failure is still pending: it may have been cancelled meanwhile, or set anew.
    pub(super) fn is_held(&self, customer: CustomerKey, campaign: &str, held: &PendingTimer) -> bool {
        let pending = self.campaign(customer, campaign).and_then(|row| row.timer(&held.name));
        pending.is_some_and(|pending| (pending.set_by, pending.due) == (held.set_by, held.due))
    }

    /// Does with a timer what has been decided about it.
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
                TimerStep::Park { now } => now + (now - pending.due).clamp(PARKED_MIN_MS, PARKED_MAX_MS),
                TimerStep::Hold => NEVER,
            };
            Some(pending.looked_at)
        });
        if let Some(due) = looked_at {
            self.index.put(Table::Timers, TimerKey { due, ..timer.clone() }.encode(), Vec::new());
        }
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
        let (index, row_bytes) = (&mut self.index, &mut self.bytes);
        let row = self.rows.get_mut(&customer).expect("the row of whom is decided about is here");
        row.is_changed = true;
        let campaign = spec.acts_for();
        row.row.change(campaign, |row| {
            match state {
                StateChange::Unchanged => {}
                StateChange::Set(bytes) => {
                    *row_bytes += bytes.len();
                    // Only a rule that has a version can return a state.
                    let version = spec.manifest.state_version.unwrap_or_default();
                    row.state = Some(StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: now });
                }
                StateChange::Remove => row.state = None,
            }
            for change in timers {
                set_timer(row, index, (customer, campaign), change, recipient, set_by);
            }
        });
    }

    /// Somebody who had become another is somebody of their own again.
    pub(super) fn release(&mut self, other: CustomerKey, customer: CustomerKey) {
        let row = self.rows.get_mut(&other).expect("the row of whom is decided about is here");
        if row.row.absorbed.contains(&customer) {
            row.is_changed = true;
            row.row.absorbed.retain(|absorbed| *absorbed != customer);
        }
    }

    /// Moves what is kept about a customer who goes to the one who stays, as the unions say, and has the one meant by the other from now on. What
    /// rules set anew is set by the event `set_by`.
    pub(super) fn unite(
        &mut self,
        from: CustomerKey,
        to: CustomerKey,
        recipient: &Customer,
        unions: &[Union],
        set_by: EventId,
    ) {
        let gone = self.rows.get_mut(&from).expect("the row of whom is decided about is here");
        gone.is_changed = true;
        let gone = std::mem::take(&mut gone.row);
        let row = self.rows.get_mut(&to).expect("the row of whom is decided about is here");
        row.is_changed = true;
        let index = &mut self.index;
        for kept in gone.campaigns() {
            let union = unions.iter().find(|union| union.campaign == kept.name);
            let moved = |timer: &PendingTimer| PendingTimer { recipient: recipient.clone(), ..timer.clone() };
            for timer in &kept.timers {
                index.delete(Table::Timers, TimerKey::of(from, &kept.name, timer).encode());
            }
            row.row.change(&kept.name, |row| {
                row.held += kept.held;
                row.follows = row.follows.or(kept.follows);
                if let Some(union) = union {
                    row.state.clone_from(&union.state);
                    move_timers(row, index, (to, &kept.name), kept.timers.iter().map(moved).collect(), union.timers);
                    for change in &union.changes {
                        set_timer(row, index, (to, &kept.name), change.clone(), Some(recipient), set_by);
                    }
                }
            });
        }
        row.row.absorbed.retain(|absorbed| *absorbed != from && *absorbed != to);
        row.row.absorbed.extend(gone.absorbed.iter().filter(|absorbed| **absorbed != to));
        row.row.absorbed.push(from);
        // The customer who stays is meant by their own name again, even if they had become another once.
        index.delete(Table::Redirects, Key::redirect(to));
        let redirect = RedirectRow { to, customer: Some(recipient.clone()) };
        index.put(Table::Redirects, Key::redirect(from), redirect.encode());
    }

    /// Unites what a failed merge has kept of the other customer with what is here, without the rule.
    pub(super) fn unite_kept(&mut self, customer: CustomerKey, union: &Union, theirs: &[PendingTimer]) {
        self.change(customer, &union.campaign, |row| row.state.clone_from(&union.state));
        self.move_timers(customer, &union.campaign, theirs.iter(), union.timers);
    }

    /// Moves timers that a failed merge has kept to the customer who stays.
    pub(super) fn move_timers<'a>(
        &mut self,
        customer: CustomerKey,
        campaign: &Arc<str>,
        theirs: impl Iterator<Item = &'a PendingTimer>,
        how: UnitedTimers,
    ) {
        // What they waited behind, if anything, has been decided.
        let theirs = theirs.map(|timer| PendingTimer { looked_at: timer.due, ..timer.clone() }).collect();
        let index = &mut self.index;
        let row = self.rows.get_mut(&customer).expect("the row of whom is decided about is here");
        row.is_changed = true;
        row.row.change(campaign, |row| move_timers(row, index, (customer, campaign), theirs, how));
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
        self.bytes = 0;
        for (customer, row) in self.rows.drain().filter(|(_, row)| row.is_changed) {
            memory.keep(customer, row.row);
        }
        std::mem::take(&mut self.index)
    }
}

/// Gives a campaign's row the timers of the customer who goes, which are already addressed to the one who stays.
fn move_timers(
    row: &mut CampaignRow,
    index: &mut Changes,
    (customer, campaign): (CustomerKey, &Arc<str>),
    theirs: Vec<PendingTimer>,
    how: UnitedTimers,
) {
    let key = |timer: &PendingTimer| TimerKey::of(customer, campaign, timer).encode();
    if how == UnitedTimers::OfGone {
        row.timers.drain(..).for_each(|own| index.delete(Table::Timers, key(&own)));
    }
    for timer in theirs {
        let own = row.timer(&timer.name).map(|own| own.due);
        let moves = match how {
            UnitedTimers::OfRemaining => false,
            UnitedTimers::OfGone => true,
            UnitedTimers::Both => own.is_none(),
            UnitedTimers::Earlier => own.is_none_or(|own| timer.due < own),
        };
        if moves {
            if let Some(own) = row.take_timer(&timer.name) {
                index.delete(Table::Timers, key(&own));
            }
            index.put(Table::Timers, key(&timer), Vec::new());
            row.timers.push(timer);
        }
    }
}

/// Sets a timer, or cancels it. A timer needs a customer to send to.
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
    // Most timers that are set again are set for the same moment: the index has their row.
    let stands = replaced.as_ref().zip(set).is_some_and(|(replaced, (due, _))| replaced.looked_at == due);
    if let Some(replaced) = replaced.filter(|_| !stands) {
        index.delete(Table::Timers, key(&replaced));
    }
    if let Some((due, recipient)) = set {
        let pending = PendingTimer { name, due, looked_at: due, set_by, recipient: recipient.clone() };
        if !stands {
            index.put(Table::Timers, key(&pending), Vec::new());
        }
        row.timers.push(pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Limits, Sandbox};
    use crate::pipeline::tests::verbose;

    #[test]
    fn a_timer_that_is_set_for_the_same_moment_again_leaves_the_index_alone() {
        let sandbox = Sandbox::new(Limits::default()).unwrap();
        let campaign = verbose(&sandbox, true);
        let (view, customer) = (View::of_rehearsal().unwrap(), CustomerKey::from_bytes([7; 16]));
        let recipient = Customer::default();
        let mut rows = Rows::default();
        rows.load(&view, customer).unwrap();
        let mut touches = |due: Option<Millis>, set_by| {
            let kept = Kept { state: StateChange::Unchanged, timers: vec![("t".into(), due)] };
            rows.keep(customer, Some(&recipient), &campaign.spec, (set_by, 0), kept);
            let pending = rows.campaign(customer, "verbose").and_then(|row| row.timer("t")).map(|timer| timer.set_by);
            assert_eq!(pending, due.map(|_| set_by), "the last that set it counts");
            std::mem::take(&mut rows.index).touches(Table::Timers)
        };
        let event = |number: u64| EventId::of_timer(EventId::NONE, "verbose", "t", number as Millis);
        assert!(touches(Some(5000), event(1)));
        assert!(!touches(Some(5000), event(2)), "the row is there");
        assert!(touches(Some(6000), event(3)));
        assert!(touches(None, event(4)));
    }
}
