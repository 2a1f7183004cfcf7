//! Two customers become one: what is kept about the one who goes is united with what is kept about the one who stays.
//!
//! A merge is decided alone, when everything before it is durable, and nothing is behind it until it is durable itself: the two may belong to
//! different shards. What moves (states, timers, failures) and the redirect from the one to the other are one commit with the event's own outcome. So
//! whatever is decided behind it finds it in the store.
//!
//! **State and timers of a campaign are united by one decision**, the rule's or the default, also when it is made later, from a kept failure:
//! a timer says when a state is to act, so the two never come from different customers by chance.

use std::collections::HashSet;
use std::sync::Arc;

use hailer_abi::catalogue;

use super::case::{Case, Reason};
use super::judge::{outcome, timers_of};
use super::redirects::{Redirects, Resolved};
use super::rehearse::hear;
use super::rows::{Union, UnitedTimers};
use super::shard::Shard;
use crate::clock::Millis;
use crate::engine::{
    Action, Campaign, CampaignSpec, GuestFault, MergeTimer, Place, RuleSet, StateChange, Stop, Subscription, Verdict,
};
use crate::event::{Customer, CustomerKey, Event};
use crate::failpoint::Failpoint;
use crate::metrics;
use crate::records::{CUSTOMER_BYTES_MAX, CampaignRow, Decided, FailureStatus, PendingTimer, StateRow, Work};
use crate::store::StoreError;

/// The catalogue's name of the event that says so.
const MERGE: &str = "ProfilesMerged";

/// Who goes and who stays, if an event is a merge of two customers.
pub(super) fn merge_of(event: &Event) -> Option<(CustomerKey, CustomerKey)> {
    let from = event.merged_from().and_then(Customer::key)?;
    catalogue::event_of_code(event.code()).filter(|known| known.name == MERGE)?;
    let to = event.customer_key()?;
    (from != to).then_some((from, to))
}

/// The key of a customer, and their ids if a merge has made these others than an event names.
pub(super) type Meant = (Option<CustomerKey>, Option<Arc<Customer>>);

/// The customer whom an event means, and the ids to which its communications go if a merge has made them others than the event names.
pub(super) fn meant(event: &Event, redirects: &Redirects) -> Result<Meant, StoreError> {
    match event.customer_key() {
        Some(customer) => Ok(meaning(event, redirects.follow(customer)?)),
        None => Ok((None, None)),
    }
}

/// The same, if it is known whom the named customer means. A merge may come late or again, when the customer who stays has become another: then
/// that one stays. Only a merge that reverses an earlier one makes its named customer stay.
pub(super) fn meaning(event: &Event, resolved: Resolved) -> Meant {
    match merge_of(event) {
        Some((from, to)) if resolved.key == from => (Some(to), None),
        _ => (Some(resolved.key), resolved.addressee()),
    }
}

/// What one campaign keeps about each of the two customers.
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

    /// Whether the rule is asked: a rule of the first form of merges only if there is a state to unite.
    fn asks(&self, spec: &CampaignSpec) -> bool {
        self.other.is_some() || spec.manifest.merges_timers() && !self.other_timers.is_empty()
    }

    /// How the two are united by a rule that is not asked. `None` for a campaign that is not loaded.
    fn by_default(&self, campaign: &Arc<str>, spec: Option<&CampaignSpec>) -> Union {
        let unites = spec.is_some_and(|spec| spec.manifest.handlers.iter().any(|handler| handler.merge));
        let knows_timers = spec.is_none_or(|spec| spec.manifest.merges_timers());
        let of_either = || self.own.clone().or_else(|| self.other.clone());
        let (state, timers) = match (knows_timers, unites) {
            (false, _) => (of_either(), UnitedTimers::Earlier),
            // What the one who goes leaves behind, if anything, are timers that no handler asks for.
            (true, true) => (of_either(), UnitedTimers::Both),
            (true, false) if self.has_own() => (self.own.clone(), UnitedTimers::OfRemaining),
            (true, false) => (self.other.clone(), UnitedTimers::OfGone),
        };
        Union { campaign: Arc::clone(campaign), state, timers, changes: Vec::new() }
    }

    /// The size of the customer's row with the state that a rule made of the two, in bytes. `bytes` is the size with the larger of the two states.
    ///
    /// # Errors
    /// The fault of a rule that makes the row too large.
    fn bytes_with(&self, bytes: usize, state: &StateChange) -> Result<usize, GuestFault> {
        let StateChange::Set(united) = state else { return Ok(bytes) };
        let before = [&self.own, &self.other].into_iter().flatten().map(|state| state.bytes.len()).max().unwrap_or(0);
        let got = bytes + united.len().saturating_sub(before);
        if united.len() > before && got > CUSTOMER_BYTES_MAX {
            return Err(GuestFault::CustomerTooLarge { got, limit_bytes: CUSTOMER_BYTES_MAX });
        }
        Ok(got)
    }

    /// What counts while the other's part waits with a kept failure. A rule of the first form has its timers united at once.
    fn meanwhile(&self, campaign: &Arc<str>, knows_timers: bool) -> Union {
        let timers = if knows_timers { UnitedTimers::OfRemaining } else { UnitedTimers::Earlier };
        Union { campaign: Arc::clone(campaign), state: self.own.clone(), timers, changes: Vec::new() }
    }
}

impl Shard {
    /// Unites two customers. The rules say how their states and timers become one; where a rule doesn't, the default does (`docs/abi.md`, "Merges").
    pub(super) fn unite(&mut self, rules: &RuleSet, case: &mut Case) -> Result<(), StoreError> {
        let Reason::Event { event, .. } = &case.reason else { return Ok(()) };
        let (Some((from, named)), Some(customer)) = (merge_of(event), event.customer()) else { return Ok(()) };
        let to = case.customer.unwrap_or(named);
        let recipient = case.became.as_deref().unwrap_or(customer).clone();
        if to != named && self.redirects.resolve(from)? == to {
            // It came again: both have become this customer, by later merges.
            return Ok(());
        }
        self.rows.load(&self.view, from)?;
        self.rows.load(&self.view, to)?;
        for (shadow, trial) in rules.shadows().filter(|(shadow, _)| shadow.spec.manifest.remembers()) {
            [from, to].into_iter().for_each(|customer| self.rows.follow(customer, &shadow.spec.name, trial));
        }
        if self.rows.bytes_together(from, to) > CUSTOMER_BYTES_MAX {
            ::metrics::counter!(metrics::CUSTOMERS_FULL_TOTAL, "refused" => "merge").increment(1);
            tracing::error!(
                event = %case.id,
                "a merge is not done: the two customers together have more than {CUSTOMER_BYTES_MAX} bytes of states and timers; both stay as they are"
            );
            return Ok(());
        }
        let unions = self.unions(rules, case, (from, to), &recipient);
        if self.failures.are_any() {
            self.failures.unite(&self.view, from, to, &recipient)?;
        }
        // Who stays may have become another once, and is meant by their own name again.
        let before = self.redirects.resolve(to)?;
        self.rows.load(&self.view, before)?;
        self.rows.release(before, to);
        self.rows.unite(from, to, &recipient, &unions, case.id);
        self.note_held(case);
        if self.exit.is_some() {
            Failpoint::DuringMerge.pass();
        }
        self.redirects.united(from, to, &recipient);
        Ok(())
    }

    /// For each campaign that keeps something about the one who goes, how it is united with what it keeps about the other.
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
            // A merge sends nothing, so the rule of a paused campaign unites, too: what it keeps stays whole.
            if rules.stop(index) == Some(Stop::Suspended) {
                continue;
            }
            // Of a campaign and its canary the one that decides for who stays.
            let is_other = |index| rules.place(index) != Place::Alone;
            if is_other(index) && !rules.decides(index, Some(to), |other| self.runs(rules, other, case.now)) {
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
                Err(fault) => unions.push(self.merge_failed(campaign, index, case, &fault, &pair, recipient)),
            }
        }
        self.guests.decide(&self.batch, &mut self.decided);
        let mut bytes = self.rows.bytes_together(from, to);
        for Verdict { campaign: index, result, .. } in std::mem::take(&mut self.decided.verdicts) {
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
                        scheduled: changes.iter().filter_map(|(name, due)| Some((name.clone(), (*due)?))).collect(),
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
                            Some(StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: case.now })
                        }
                    };
                    Union { state, changes, ..pair.by_default(spec.acts_for(), Some(spec)) }
                }
                Err(fault) => self.merge_failed(campaign, index, case, &fault, &pair, recipient),
            });
        }
        if self.exit.is_none() {
            hear(&mut self.decided, 0, std::slice::from_mut(case));
        }
        self.report_misbehaviour(rules, 0, std::slice::from_ref(case));
        let named: HashSet<Arc<str>> = unions.iter().map(|union| Arc::clone(&union.campaign)).collect();
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
        let [own, other] =
            [&pair.own, &pair.other].map(|state| state.as_ref().map(|state| (state.version, &*state.bytes)));
        let timers = merge_timers(spec, &pair.own_timers, &pair.other_timers);
        self.batch.add_merge(handler, number, now, to.seed(), [own, other], timers.as_deref())
    }

    /// What a campaign keeps about the two. A state that has outlived its time is none.
    fn pair(&self, spec: &CampaignSpec, from: CustomerKey, to: CustomerKey, now: Millis) -> Pair {
        let state = |customer| {
            self.rows.state(customer, spec, now)?;
            self.rows.campaign(customer, spec.acts_for())?.state.clone()
        };
        let row = |customer| self.rows.campaign(customer, spec.acts_for());
        let timers = |customer| row(customer).map(|row| row.timers.clone()).unwrap_or_default();
        Pair { own: state(to), own_timers: timers(to), other: state(from), other_timers: timers(from) }
    }

    /// A rule faulted while it united two customers: what is kept of the one who stays counts meanwhile, and what is kept of the other waits with
    /// the failure.
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
            // Nothing may be lost for want of room: what can be kept of the other without the rule is.
            let timers = if knows_timers { UnitedTimers::Both } else { UnitedTimers::Earlier };
            let state = pair.own.clone().or_else(|| pair.other.clone());
            Union { campaign: Arc::clone(spec.acts_for()), state, timers, changes: Vec::new() }
        }
    }

    /// A campaign that is not loaded keeps something about both customers: the two are united when what is kept is tried again.
    fn merge_of_unloaded(&mut self, row: CampaignRow, case: &mut Case, to: CustomerKey, recipient: &Customer) -> Union {
        let own = self.rows.campaign(to, &row.name);
        let (own, own_timers) = own.map(|own| (own.state.clone(), own.timers.clone())).unwrap_or_default();
        let (campaign, pair) = (row.name, Pair { own, own_timers, other: row.state, other_timers: row.timers });
        if !pair.has_own() || !pair.has_other() {
            return pair.by_default(&campaign, None);
        }
        let work = merge_work(case, &pair, true, recipient);
        if self.keep_work(&campaign, case, work, FailureStatus::Held, true) {
            return pair.meanwhile(&campaign, true);
        }
        tracing::error!(
            campaign = &*campaign,
            event = %case.id,
            "a state or a timer is lost in a merge: its campaign is not loaded, and the merge can't be kept for it (store.failures_bytes_max)"
        );
        pair.by_default(&campaign, None)
    }

    /// Adds the call of a merge that is tried again; or, if the rule is not asked, the union that is made without a call.
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
            Some(handler) => self.ask(&handler, spec, (number, case.now, customer), &pair).map(|()| None),
            None => Ok(Some(pair.by_default(spec.acts_for(), Some(spec)))),
        }
    }
}

/// What is kept of the one who goes with a failure. The timers of a rule of the first form have moved.
fn merge_work(case: &Case, pair: &Pair, keeps_timers: bool, recipient: &Customer) -> Work {
    let addressed = |timer: &PendingTimer| PendingTimer { recipient: recipient.clone(), ..timer.clone() };
    let timers = if keeps_timers { pair.other_timers.iter().map(addressed).collect() } else { Vec::new() };
    let (code, other) = (case.name().into(), pair.other.clone());
    Work::Merge { id: case.id, code, other, timers, recipient: Some(recipient.clone()) }
}

/// The pending timers as a rule of the second form is handed them; `None` for one of the first. A timer that its version lacks is not among them.
fn merge_timers(spec: &CampaignSpec, own: &[PendingTimer], other: &[PendingTimer]) -> Option<Vec<MergeTimer>> {
    let handlers = &spec.manifest.handlers;
    let handler = |name: &str| handlers.iter().position(|handler| handler.timer.as_deref() == Some(name));
    let both = [(own, false), (other, true)].into_iter();
    let timers = both.flat_map(|(timers, is_other)| timers.iter().map(move |timer| (timer, is_other)));
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
        let state = |length| Some(StateRow { version: 1, bytes: vec![0; length].into(), changed_ms: 0 });
        let pair = Pair { own: state(10), own_timers: Vec::new(), other: state(30), other_timers: Vec::new() };
        let set = StateChange::Set(vec![0; 40].into());
        assert_eq!(pair.bytes_with(100, &set).ok(), Some(110), "the larger of the two is in the size already");
        assert_eq!(pair.bytes_with(100, &StateChange::Unchanged).ok(), Some(100));
        assert_eq!(pair.bytes_with(CUSTOMER_BYTES_MAX - 10, &set).ok(), Some(CUSTOMER_BYTES_MAX));
        let fault = pair.bytes_with(CUSTOMER_BYTES_MAX - 9, &set).unwrap_err();
        assert!(matches!(fault, GuestFault::CustomerTooLarge { .. }), "{fault:?}");
    }
}
