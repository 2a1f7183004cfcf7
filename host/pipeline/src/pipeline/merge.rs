//! A merge makes one customer of two: the rows of the customer who goes are united with the rows of
//! the customer who stays.
//!
//! A merge is decided alone, once everything before it is durable, and nothing behind it starts
//! until the merge is durable: the entrance takes the whole budget for it (`entrance.rs`,
//! `room_for`; `budget.rs`). The reason is that the two customers may belong to different shards.
//! One commit holds the moved rows (states, timers, consents, counts, deferred messages, failures),
//! the redirect and the event's own outcome. Every later decision therefore finds the merge in the
//! store.
//!
//! **One decision unites a campaign's state and timers**: the rule's answer or the default. This
//! also holds if a kept failure decides later. A timer says when a state is to act, so the two
//! never come from different customers by chance.

use std::collections::HashSet;
use std::sync::Arc;

use hailer_abi::catalogue;

use super::case::{Case, Reason};
use super::decide::Decider;
use super::judge::{outcome, timers_of};
use super::notice::Notice;
use super::redirects::{Redirects, Resolved};
use super::rows::{Union, UnitedTimers};
use crate::records::{
    CUSTOMER_BYTES_MAX, CampaignRow, Decided, FailureStatus, PendingTimer, StateRow, Work,
};
use hailer_base::clock::Millis;
use hailer_engine::{
    Action, CallResult, Campaign, CampaignSpec, CanaryRole, GuestFault, MergeTimer, RuleSet,
    StateChange, Stop, Subscription,
};
use hailer_event::{Customer, CustomerKey, Event};
use hailer_store::StoreError;

/// The catalogue's name of the merge event.
const MERGE: &str = "ProfilesMerged";

/// The customer who goes and the customer who stays, if the event is a merge of two customers.
pub(super) fn merge_of(event: &Event) -> Option<(CustomerKey, CustomerKey)> {
    let from = event.merged_from().and_then(Customer::key)?;
    catalogue::event_of_code(event.code()).filter(|known| known.name == MERGE)?;
    let to = event.customer_key()?;
    (from != to).then_some((from, to))
}

/// A customer's key, and the customer's ids if a merge has changed them from those in the event.
pub(super) type Meant = (Option<CustomerKey>, Option<Arc<Customer>>);

/// The customer of an event after redirects from merges. The ids are `Some` if communications go to
/// other ids than those in the event.
pub(super) fn meant(event: &Event, redirects: &Redirects) -> Result<Meant, StoreError> {
    match event.customer_key() {
        Some(customer) => Ok(meaning(event, redirects.follow(customer)?)),
        None => Ok((None, None)),
    }
}

/// The customer of an event whose named customer has been resolved. A merge event may come late or
/// again, when its remaining customer has merged into another; then that other customer remains.
/// Only a merge that reverses an earlier merge restores its named customer.
pub(super) fn meaning(event: &Event, resolved: Resolved) -> Meant {
    match merge_of(event) {
        Some((from, to)) if resolved.key == from => (Some(to), None),
        _ => (Some(resolved.key), resolved.customer),
    }
}

/// The state and timers that one campaign keeps for each of the two customers. `own` belongs to the
/// customer who stays, `other` to the customer who goes.
struct Pair {
    own: Option<StateRow>,
    own_timers: Vec<PendingTimer>,
    other: Option<StateRow>,
    other_timers: Vec<PendingTimer>,
}

impl Pair {
    fn has_own(&self) -> bool {
        self.own.is_some() || !self.own_timers.is_empty()
    }

    fn has_other(&self) -> bool {
        self.other.is_some() || !self.other_timers.is_empty()
    }

    /// Whether the rule is called. A rule with the first version of merges (`merges: 1`) is called
    /// only if the customer who goes has a state.
    fn asks(&self, spec: &CampaignSpec) -> bool {
        self.other.is_some() || spec.manifest.merges_timers() && !self.other_timers.is_empty()
    }

    /// The union of the two customers' rows without a call of the rule. `spec` is `None` for a
    /// campaign that is not loaded.
    fn by_default(&self, campaign: &Arc<str>, spec: Option<&CampaignSpec>) -> Union {
        let unites =
            spec.is_some_and(|spec| spec.manifest.handlers.iter().any(|handler| handler.merge));
        let knows_timers = spec.is_none_or(|spec| spec.manifest.merges_timers());
        let of_either = || self.own.clone().or_else(|| self.other.clone());
        let (state, timers) = match (knows_timers, unites) {
            (false, _) => (of_either(), UnitedTimers::Earlier),
            // The customer who goes may still leave timers that no handler takes.
            (true, true) => (of_either(), UnitedTimers::Both),
            (true, false) if self.has_own() => (self.own.clone(), UnitedTimers::OfRemaining),
            (true, false) => (self.other.clone(), UnitedTimers::OfGone),
        };
        Union { campaign: Arc::clone(campaign), state, timers, changes: Vec::new() }
    }

    /// The size of the united customer's row with the state that the rule returned, in bytes.
    /// `bytes` is the size of the row with the larger of the two states.
    ///
    /// # Errors
    /// The fault of a rule that makes the row too large.
    fn bytes_with(&self, bytes: usize, state: &StateChange) -> Result<usize, GuestFault> {
        let StateChange::Set(united) = state else { return Ok(bytes) };
        let before = [&self.own, &self.other]
            .into_iter()
            .flatten()
            .map(|state| state.bytes.len())
            .max()
            .unwrap_or(0);
        let got = bytes + united.len().saturating_sub(before);
        if united.len() > before && got > CUSTOMER_BYTES_MAX {
            return Err(GuestFault::CustomerTooLarge { got, limit_bytes: CUSTOMER_BYTES_MAX });
        }
        Ok(got)
    }

    /// The union that applies while the other customer's state waits with a kept failure. For a
    /// rule with the first version of merges, the timers are united at once.
    fn meanwhile(&self, campaign: &Arc<str>, knows_timers: bool) -> Union {
        let timers = if knows_timers { UnitedTimers::OfRemaining } else { UnitedTimers::Earlier };
        Union {
            campaign: Arc::clone(campaign),
            state: self.own.clone(),
            timers,
            changes: Vec::new(),
        }
    }
}

/// A merge to decide: the customer who goes, the customer who stays, and the ids of the latter.
pub(super) struct Merge {
    pub(super) from: CustomerKey,
    pub(super) to: CustomerKey,
    pub(super) recipient: Customer,
    /// The customer to whom `to` resolves before this merge; `to` itself without a redirect. The
    /// merge makes `to` a customer of its own again.
    before: CustomerKey,
}

impl Merge {
    /// The merge in a case; `None` if the case has no merge, or one that is already done.
    ///
    /// # Errors
    /// When a redirect can't be read.
    pub(super) fn of(case: &Case, redirects: &Redirects) -> Result<Option<Merge>, StoreError> {
        let Reason::Event { event, .. } = &case.reason else { return Ok(None) };
        let (Some((from, named)), Some(customer), None) =
            (merge_of(event), event.customer(), &case.retry)
        else {
            return Ok(None);
        };
        let to = case.customer.unwrap_or(named);
        let recipient = case.became.as_deref().unwrap_or(customer).clone();
        if to != named && redirects.resolve(from)? == to {
            // The event is a repeat: later merges have made both customers this one.
            return Ok(None);
        }
        Ok(Some(Merge { from, to, recipient, before: redirects.resolve(to)? }))
    }

    /// The customers whose rows the merge reads and changes.
    pub(super) fn customers(&self) -> [CustomerKey; 3] {
        [self.from, self.to, self.before]
    }
}

impl Decider {
    /// Unites the rows of two customers. Each rule says how its states and timers become one;
    /// otherwise the default applies (`docs/abi.md`, "Merges"). Returns false if the united row
    /// would be too large; then both rows stay as they are.
    pub(super) fn unite(&mut self, rules: &RuleSet, case: &mut Case, merge: &Merge) -> bool {
        let Merge { from, to, recipient, before } = merge;
        let (from, to) = (*from, *to);
        for (shadow, trial) in
            rules.shadows().filter(|(shadow, _)| shadow.spec.manifest.remembers())
        {
            [from, to]
                .into_iter()
                .for_each(|customer| self.follow(customer, &shadow.spec.name, trial));
        }
        if self.rows.bytes_together(from, to) > CUSTOMER_BYTES_MAX {
            self.notices.push(Notice::MergeTooLarge { event: case.id });
            return false;
        }
        let unions = self.unions(rules, case, (from, to), recipient);
        self.rows.forget_absorbed(*before, to);
        self.rows.unite(from, to, recipient, &unions, case.id);
        self.note_held(case);
        true
    }

    /// The union for each campaign that keeps a row for the customer who goes.
    fn unions(
        &mut self,
        rules: &RuleSet,
        case: &mut Case,
        (from, to): (CustomerKey, CustomerKey),
        recipient: &Customer,
    ) -> Vec<Union> {
        let mut unions: Vec<Union> = Vec::new();
        let mut asked: Vec<(usize, Pair)> = Vec::new();
        self.batch.open(rules);
        for (index, campaign) in rules.campaigns().iter().enumerate() {
            let Campaign { spec, .. } = &**campaign;
            // A merge sends nothing, so a paused campaign's rule also unites, and its state stays
            // whole.
            if rules.stop(index) == Some(Stop::Suspended) {
                continue;
            }
            // Of a campaign and its canary, only the one that decides for the remaining customer
            // unites.
            let is_other = |index| rules.canary_role(index) != CanaryRole::Alone;
            if is_other(index)
                && !rules.decides(index, Some(to), |other| self.runs(rules, other, case.now))
            {
                continue;
            }
            if self.rows.campaign(from, spec.acts_for()).is_none() {
                continue;
            }
            let pair = self.pair(spec, from, to, case.now);
            let Some(handler) = rules.merge(index).filter(|_| pair.asks(spec)) else {
                unions.push(pair.by_default(spec.acts_for(), Some(spec)));
                continue;
            };
            let added = self.ask(&handler, spec, (0, case.now, to), &pair);
            match added {
                Ok(()) => asked.push((index, pair)),
                Err(fault) => {
                    unions.push(self.merge_failed(campaign, index, case, &fault, &pair, recipient))
                }
            }
        }
        self.guests.decide(&self.batch, &mut self.answers);
        let mut bytes = self.rows.bytes_together(from, to);
        for CallResult { campaign: index, result, .. } in std::mem::take(&mut self.answers.results)
        {
            let campaign = &rules.campaigns()[index];
            let Some(at) = asked.iter().position(|(asked, _)| *asked == index) else { continue };
            let (_, pair) = asked.swap_remove(at);
            let spec = &campaign.spec;
            let answered = result.and_then(|answer| {
                let changes = timers_of(&answer.actions, spec, case.now)?;
                bytes = pair.bytes_with(bytes, &answer.state)?;
                Ok((answer, changes))
            });
            unions.push(match answered {
                Ok((answer, changes)) => {
                    let notes = answer.actions.into_iter().filter_map(|action| match action {
                        Action::Note(text) => Some(text),
                        _ => None,
                    });
                    let decided = Decided::Answered {
                        communications: Vec::new(),
                        notes: notes.collect(),
                        state_changed: answer.state != StateChange::Unchanged,
                        scheduled: changes
                            .iter()
                            .filter_map(|(name, due)| Some((name.clone(), (*due)?)))
                            .collect(),
                        cancelled: changes
                            .iter()
                            .filter(|(_, due)| due.is_none())
                            .map(|(name, _)| name.clone())
                            .collect(),
                    };
                    case.outcomes.push(outcome(spec, decided));
                    let state = match answer.state {
                        StateChange::Unchanged => pair.own.clone(),
                        StateChange::Remove => None,
                        StateChange::Set(bytes) => {
                            let version = spec.manifest.state_version.unwrap_or_default();
                            Some(StateRow {
                                version,
                                bytes: Vec::from(bytes).into(),
                                changed_ms: case.now,
                            })
                        }
                    };
                    Union { state, changes, ..pair.by_default(spec.acts_for(), Some(spec)) }
                }
                Err(fault) => self.merge_failed(campaign, index, case, &fault, &pair, recipient),
            });
        }
        let named: HashSet<Arc<str>> =
            unions.iter().map(|union| Arc::clone(&union.campaign)).collect();
        let kept = self.rows.row(from).map(|row| row.campaigns().to_vec()).unwrap_or_default();
        for row in kept.into_iter().filter(|row| !named.contains(&row.name)) {
            unions.push(self.merge_of_unloaded(row, case, to, recipient));
        }
        unions
    }

    /// Adds the call of a merge handler for a pair.
    fn ask(
        &mut self,
        handler: &Subscription,
        spec: &CampaignSpec,
        (number, now, to): (usize, Millis, CustomerKey),
        pair: &Pair,
    ) -> Result<(), GuestFault> {
        let [own, other] = [&pair.own, &pair.other]
            .map(|state| state.as_ref().map(|state| (state.version, &*state.bytes)));
        let timers = merge_timers(spec, &pair.own_timers, &pair.other_timers);
        self.batch.add_merge(handler, number, now, to.seed(), [own, other], timers.as_deref())
    }

    /// The rows that a campaign keeps for the two customers. An expired state counts as no state.
    fn pair(&self, spec: &CampaignSpec, from: CustomerKey, to: CustomerKey, now: Millis) -> Pair {
        let state = |customer| {
            self.rows.state(customer, spec, now)?;
            self.rows.campaign(customer, spec.acts_for())?.state.clone()
        };
        let row = |customer| self.rows.campaign(customer, spec.acts_for());
        let timers = |customer| row(customer).map(|row| row.timers.clone()).unwrap_or_default();
        Pair {
            own: state(to),
            own_timers: timers(to),
            other: state(from),
            other_timers: timers(from),
        }
    }

    /// The union after a rule faulted in its merge handler. The remaining customer's state applies
    /// meanwhile, and the other customer's state waits with the failure.
    fn merge_failed(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        fault: &GuestFault,
        pair: &Pair,
        recipient: &Customer,
    ) -> Union {
        let spec = &campaign.spec;
        let knows_timers = spec.manifest.merges_timers();
        let work = merge_work(case, pair, knows_timers, recipient);
        let (log, kept_before) = (self.log_of(0, index), case.failures.len());
        let decided = self.failed(campaign, index, case, Some(work), fault, log);
        case.outcomes.push(outcome(spec, decided));
        if case.failures.len() > kept_before {
            pair.meanwhile(spec.acts_for(), knows_timers)
        } else {
            // No room for the failure must lose nothing, so as much of the other customer as the
            // default keeps is united at once.
            let timers = if knows_timers { UnitedTimers::Both } else { UnitedTimers::Earlier };
            let state = pair.own.clone().or_else(|| pair.other.clone());
            Union { campaign: Arc::clone(spec.acts_for()), state, timers, changes: Vec::new() }
        }
    }

    /// The union for a campaign that is not loaded. If both customers have rows, the other
    /// customer's row waits with a kept failure, and its retry unites the two.
    fn merge_of_unloaded(
        &mut self,
        row: CampaignRow,
        case: &mut Case,
        to: CustomerKey,
        recipient: &Customer,
    ) -> Union {
        let own = self.rows.campaign(to, &row.name);
        let (own, own_timers) =
            own.map(|own| (own.state.clone(), own.timers.clone())).unwrap_or_default();
        let (campaign, pair) =
            (row.name, Pair { own, own_timers, other: row.state, other_timers: row.timers });
        if !pair.has_own() || !pair.has_other() {
            return pair.by_default(&campaign, None);
        }
        let work = merge_work(case, &pair, true, recipient);
        if self.keep_work(&campaign, case, work, FailureStatus::Held, true) {
            return pair.meanwhile(&campaign, true);
        }
        self.notices
            .push(Notice::StateLostInMerge { campaign: Arc::clone(&campaign), event: case.id });
        pair.by_default(&campaign, None)
    }

    /// Adds the call for the retry of a failed merge. Returns the union instead if the rule is not
    /// called.
    pub(super) fn merge_again(
        &mut self,
        rules: &RuleSet,
        (index, number): (usize, usize),
        case: &Case,
        customer: CustomerKey,
        (other, timers): (&Option<StateRow>, &[PendingTimer]),
    ) -> Result<Option<Union>, GuestFault> {
        let spec = &rules.campaigns()[index].spec;
        let mut pair = self.pair(spec, customer, customer, case.now);
        (pair.other, pair.other_timers) = (other.clone(), timers.to_vec());
        match rules.merge(index).filter(|_| pair.asks(spec)) {
            Some(handler) => {
                self.ask(&handler, spec, (number, case.now, customer), &pair).map(|()| None)
            }
            None => Ok(Some(pair.by_default(spec.acts_for(), Some(spec)))),
        }
    }
}

/// The other customer's rows, for a kept failure. For a rule with the first version of merges, the
/// timers have moved already and are not kept.
fn merge_work(case: &Case, pair: &Pair, keeps_timers: bool, recipient: &Customer) -> Work {
    let addressed =
        |timer: &PendingTimer| PendingTimer { recipient: recipient.clone(), ..timer.clone() };
    let timers =
        if keeps_timers { pair.other_timers.iter().map(addressed).collect() } else { Vec::new() };
    let (code, other) = (case.name().into(), pair.other.clone());
    Work::Merge { id: case.id, code, other, timers, recipient: Some(recipient.clone()) }
}

/// The pending timers, as a rule with the second version of merges receives them; `None` for the
/// first version. Timers without a handler in this version of the rule are left out.
fn merge_timers(
    spec: &CampaignSpec,
    own: &[PendingTimer],
    other: &[PendingTimer],
) -> Option<Vec<MergeTimer>> {
    let handlers = &spec.manifest.handlers;
    let handler =
        |name: &str| handlers.iter().position(|handler| handler.timer.as_deref() == Some(name));
    let both = [(own, false), (other, true)].into_iter();
    let timers =
        both.flat_map(|(timers, is_other)| timers.iter().map(move |timer| (timer, is_other)));
    let handed = timers.filter_map(|(timer, is_other)| {
        Some(MergeTimer { handler: handler(&timer.name)? as u32, is_other, due: timer.due })
    });
    spec.manifest.merges_timers().then(|| handed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_united_state_that_makes_the_row_too_large_is_a_fault() {
        let state =
            |length| Some(StateRow { version: 1, bytes: vec![0; length].into(), changed_ms: 0 });
        let pair = Pair {
            own: state(10),
            own_timers: Vec::new(),
            other: state(30),
            other_timers: Vec::new(),
        };
        let set = StateChange::Set(vec![0; 40].into());
        assert_eq!(
            pair.bytes_with(100, &set).ok(),
            Some(110),
            "the larger of the two is in the size already"
        );
        assert_eq!(pair.bytes_with(100, &StateChange::Unchanged).ok(), Some(100));
        assert_eq!(pair.bytes_with(CUSTOMER_BYTES_MAX - 10, &set).ok(), Some(CUSTOMER_BYTES_MAX));
        let fault = pair.bytes_with(CUSTOMER_BYTES_MAX - 9, &set).unwrap_err();
        assert!(matches!(fault, GuestFault::CustomerTooLarge { .. }), "{fault:?}");
    }
}
