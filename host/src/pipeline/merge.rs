//! Two customers become one: what is kept about the one who goes is united with what is kept about the one who stays.
//!
//! A merge is decided alone, when everything before it is durable, and nothing is behind it until it is durable itself: the two may belong to
//! different shards. What moves (states, timers) and the redirect from the one to the other are one commit with the event's own outcome. What the
//! store doesn't show of it yet, memory does (`memory.rs`, `redirects.rs`); only if failures are kept, which are read from the store, does a merge wait for it.

use std::collections::HashSet;
use std::sync::Arc;

use hailer_abi::catalogue;

use super::case::{Case, Reason};
use super::judge::outcome;
use super::rehearse::hear;
use super::rows::United;
use super::shard::Shard;
use crate::engine::{Campaign, GuestFault, Place, RuleSet, StateChange, Verdict};
use crate::event::{Customer, CustomerKey, Event};
use crate::failpoint::Failpoint;
use crate::store::StoreError;
use crate::store::records::{FailureStatus, StateRow, Work};

/// The catalogue's name of the event that says so.
const MERGE: &str = "ProfilesMerged";

/// Who goes and who stays, if an event is a merge of two customers.
pub(super) fn merge_of(event: &Event) -> Option<(CustomerKey, CustomerKey)> {
    let from = event.merged_from().and_then(Customer::key)?;
    catalogue::event_of_code(event.code()).filter(|known| known.name == MERGE)?;
    let to = event.customer_key()?;
    (from != to).then_some((from, to))
}

impl Shard {
    /// Unites two customers. The rules say how their states become one; where a rule doesn't, the state of the one who stays counts, and that
    /// of the other if there is none.
    pub(super) fn unite(&mut self, rules: &RuleSet, case: &mut Case) -> Result<(), StoreError> {
        let Reason::Event { event, .. } = &case.reason else { return Ok(()) };
        let (Some((from, to)), Some(recipient)) = (merge_of(event), event.customer().cloned()) else { return Ok(()) };
        self.rows.load(&self.view, from)?;
        self.rows.load(&self.view, to)?;
        for (shadow, trial) in rules.shadows().filter(|(shadow, _)| shadow.spec.manifest.remembers()) {
            [from, to].into_iter().for_each(|customer| self.rows.follow(customer, &shadow.spec.name, trial));
        }
        self.batch.open(rules);
        for (index, campaign) in rules.campaigns().iter().enumerate() {
            let Campaign { spec, .. } = &**campaign;
            // Of a campaign and its canary the one that decides for who stays.
            let is_other = |index| rules.place(index) != Place::Alone;
            if is_other(index) && !rules.decides(index, Some(to), |other| self.runs(rules, other, case.now)) {
                continue;
            }
            let (Some(handler), Some(other)) = (rules.merge(index), self.rows.state(from, spec, case.now)) else {
                continue;
            };
            let state = self.rows.state(to, spec, case.now);
            if let Err(fault) = self.batch.add_merge(&handler, 0, case.now, to.seed(), state, Some(other)) {
                self.merge_failed(campaign, index, case, &fault, from);
            }
        }
        self.guests.decide(&self.batch, &mut self.decided);
        let mut united: Vec<United> = Vec::new();
        for Verdict { campaign: index, result, .. } in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[index];
            let spec = &campaign.spec;
            match result.map(|answer| answer.state) {
                Ok(StateChange::Unchanged) => {}
                Ok(StateChange::Remove) => united.push(United { campaign: Arc::clone(spec.acts_for()), state: None }),
                Ok(StateChange::Set(bytes)) => {
                    let version = spec.manifest.state_version.unwrap_or_default();
                    let state = StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: case.now };
                    united.push(United { campaign: Arc::clone(spec.acts_for()), state: Some(state) });
                }
                Err(fault) => self.merge_failed(campaign, index, case, &fault, from),
            }
        }
        if self.exit.is_none() {
            hear(&mut self.decided, 0, std::slice::from_mut(case));
        }
        self.report_misbehaviour(rules, 0, std::slice::from_ref(case));
        let running: HashSet<&str> = rules.campaigns().iter().map(|campaign| &*campaign.spec.name).collect();
        for (campaign, other) in self.rows.states_of_both(from, to) {
            if !running.contains(&*campaign) {
                self.merge_waits(&campaign, case, other);
            }
        }
        // They are read from the store alone: it shows them, as the merge has waited for that, and has to show what becomes of them.
        if self.failures.are_any() {
            self.failures.unite(&self.view, from, to, &recipient)?;
            self.must_show = true;
        }
        // Who stays may have become another once, and is meant by their own name again.
        let before = self.redirects.resolve(to)?;
        self.rows.load(&self.view, before)?;
        self.rows.release(before, to);
        self.rows.unite(from, to, &recipient, united);
        self.note_held(case);
        if self.exit.is_some() {
            Failpoint::DuringMerge.pass();
        }
        self.redirects.united(from, to, self.view.group());
        Ok(())
    }

    /// A rule faulted while it united two states: that of the one who stays counts meanwhile, and that of the other is kept with the failure.
    fn merge_failed(
        &mut self,
        campaign: &Campaign,
        index: usize,
        case: &mut Case,
        fault: &GuestFault,
        from: CustomerKey,
    ) {
        let other = self.rows.campaign(from, campaign.spec.acts_for()).and_then(|row| row.state.clone());
        let code = case.name().into();
        let work = other.map(|other| Work::Merge { id: case.id, code, other });
        let log = self.log_of(0, index);
        let decided = self.failed(campaign, index, case, work, fault, log);
        case.outcomes.push(outcome(&campaign.spec, decided));
    }

    /// Both customers have a state in a campaign that does not run now: they are united when somebody has what is kept tried again.
    fn merge_waits(&mut self, campaign: &Arc<str>, case: &mut Case, other: StateRow) {
        let work = Work::Merge { id: case.id, code: case.name().into(), other };
        if !self.keep_work(campaign, case, work, FailureStatus::Held, true) {
            tracing::error!(
                campaign = &**campaign,
                event = %case.id,
                "a state is lost: its campaign does not run, and a merge can't be kept for it (store.failures_bytes_max)"
            );
        }
    }
}
