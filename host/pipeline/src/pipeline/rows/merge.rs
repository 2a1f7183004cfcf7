//! A merge of two customers' rows into one.

use std::sync::Arc;

use super::deferred::move_deferred;
use super::{Rows, TimerChange, loaded, set_timer};
use crate::records::{
    ABSORBED_BYTES, CampaignRow, CustomerRow, Key, PendingTimer, RedirectRow, StateRow, TimerKey,
};
use hailer_event::{Customer, CustomerKey, EventId};
use hailer_store::{Changes, Table};

/// The union of one campaign's rows of two customers.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Union {
    pub(in crate::pipeline) campaign: Arc<str>,
    pub(in crate::pipeline) state: Option<StateRow>,
    pub(in crate::pipeline) timers: UnitedTimers,
    /// The timer changes of the rule's answer; they apply last.
    pub(in crate::pipeline) changes: Vec<TimerChange>,
}

/// The pending timers that the remaining customer has after a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum UnitedTimers {
    /// The timers of both customers; of two with one name, the earlier. For modules with the first
    /// version of merges, which do not handle timers.
    Earlier,
    /// The timers of both customers; of two with one name, the remaining customer's.
    Both,
    /// The timers of the customer who remains, and no others.
    OfRemaining,
    /// The timers of the customer who goes, and no others.
    OfGone,
}

impl Rows {
    /// The size of the row that unites two customers, in bytes, if no rule enlarges a state.
    pub(in crate::pipeline) fn bytes_together(&self, from: CustomerKey, to: CustomerKey) -> usize {
        let bytes = |customer| self.row(customer).map_or(0, CustomerRow::bytes);
        // One of a campaign's two states remains.
        let has_both = |row: &&CampaignRow| {
            self.campaign(to, &row.name).is_some_and(|other| other.state.is_some())
        };
        let theirs = self.row(from).map(CustomerRow::campaigns).unwrap_or_default();
        let twice: usize = theirs.iter().filter(has_both).map(CampaignRow::state_bytes).sum();
        bytes(from) + bytes(to) + ABSORBED_BYTES - twice
    }

    /// Removes `customer` from the merged customers of `other`, because a later merge makes
    /// `customer` a customer of its own again.
    pub(in crate::pipeline) fn forget_absorbed(
        &mut self,
        other: CustomerKey,
        customer: CustomerKey,
    ) {
        let row = loaded(&mut self.rows, other);
        if row.row.absorbed.contains(&customer) {
            row.is_changed = true;
            row.row.absorbed.retain(|absorbed| *absorbed != customer);
        }
    }

    /// Moves the rows of the customer who goes to the customer who stays, as the unions say, and
    /// adds the redirect. Timers that rules set in the merge are set by the event `set_by`.
    pub(in crate::pipeline) fn unite(
        &mut self,
        from: CustomerKey,
        to: CustomerKey,
        recipient: &Customer,
        unions: &[Union],
        set_by: EventId,
    ) {
        let gone = loaded(&mut self.rows, from);
        gone.is_changed = true;
        let gone = std::mem::take(&mut gone.row);
        let row = loaded(&mut self.rows, to);
        row.is_changed = true;
        let index = &mut self.index;
        for kept in gone.campaigns() {
            let union = unions.iter().find(|union| union.campaign == kept.name);
            let moved = |timer: &PendingTimer| PendingTimer {
                recipient: recipient.clone(),
                ..timer.clone()
            };
            for timer in &kept.timers {
                index.delete(Table::Timers, TimerKey::of(from, &kept.name, timer).encode());
            }
            row.row.change(&kept.name, |row| {
                row.held += kept.held;
                row.follows = row.follows.or(kept.follows);
                if let Some(union) = union {
                    row.state.clone_from(&union.state);
                    move_timers(
                        row,
                        index,
                        (to, &kept.name),
                        kept.timers.iter().map(moved).collect(),
                        union.timers,
                    );
                    for change in &union.changes {
                        set_timer(
                            row,
                            index,
                            (to, &kept.name),
                            change.clone(),
                            Some(recipient),
                            set_by,
                        );
                    }
                }
            });
        }
        row.row.policy.unite(gone.policy);
        move_deferred(&mut row.row.deferred, index, (from, to), recipient, gone.deferred);
        row.row.absorbed.retain(|absorbed| *absorbed != from && *absorbed != to);
        row.row.absorbed.extend(gone.absorbed.iter().filter(|absorbed| **absorbed != to));
        row.row.absorbed.push(from);
        // The remaining customer resolves to itself again, even if an earlier merge redirected it.
        index.delete(Table::Redirects, Key::redirect(to));
        let redirect = RedirectRow { to, customer: recipient.clone() };
        index.put(Table::Redirects, Key::redirect(from), redirect.encode());
    }

    /// Unites the other customer's rows from a kept merge failure with this customer's row, without
    /// calling the rule.
    pub(in crate::pipeline) fn unite_kept(
        &mut self,
        customer: CustomerKey,
        union: &Union,
        theirs: &[PendingTimer],
    ) {
        self.change(customer, &union.campaign, |row| row.state.clone_from(&union.state));
        self.move_timers(customer, &union.campaign, theirs.iter(), union.timers);
    }

    /// Moves the timers of a kept merge failure to the customer who stays.
    pub(in crate::pipeline) fn move_timers<'a>(
        &mut self,
        customer: CustomerKey,
        campaign: &Arc<str>,
        theirs: impl Iterator<Item = &'a PendingTimer>,
        how: UnitedTimers,
    ) {
        // A failure that held these timers has been decided, so they are not held any more.
        let theirs =
            theirs.map(|timer| PendingTimer { looked_at: timer.due, ..timer.clone() }).collect();
        let index = &mut self.index;
        let row = loaded(&mut self.rows, customer);
        row.is_changed = true;
        row.row.change(campaign, |row| move_timers(row, index, (customer, campaign), theirs, how));
    }
}

/// Adds the timers of the customer who goes to a campaign's row. They are already addressed to the
/// customer who stays.
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
