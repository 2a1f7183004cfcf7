//! Two customers become one: what is kept about the one who goes is united with what is kept about the one who stays.
//!
//! A merge is decided alone, when everything before it is durable: the two may belong to different shards. What moves (states, timers) and the
//! redirect from the one to the other are one commit with the event's own outcome.

use std::sync::Arc;

use hailer_abi::catalogue;

use super::case::{Case, Reason};
use super::judge::outcome;
use super::rows::United;
use super::shard::Shard;
use crate::engine::{Campaign, GuestFault, RuleSet, StateChange};
use crate::event::{Customer, CustomerKey, Event};
use crate::failpoint::Failpoint;
use crate::store::StoreError;
use crate::store::records::{Decided, StateRow, Work};

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
        self.rows.load(&self.memory, from)?;
        self.rows.load(&self.memory, to)?;
        self.batch.open(rules);
        let mut asked: Vec<usize> = Vec::new();
        for (index, campaign) in rules.campaigns().iter().enumerate() {
            let Campaign { spec, .. } = &**campaign;
            let (Some(handler), Some(other)) = (rules.merge(index), self.rows.state(from, spec, case.now)) else {
                continue;
            };
            let state = self.rows.state(to, spec, case.now);
            match self.batch.add_merge(&handler, asked.len(), case.now, to.seed(), state, Some(other)) {
                Ok(()) => asked.push(index),
                Err(fault) => {
                    let decided = self.merge_failed(campaign, index, case, &fault, from);
                    case.outcomes.push(outcome(spec, decided));
                }
            }
        }
        self.guests.decide(&self.batch, &mut self.decided);
        let mut united: Vec<United> = Vec::new();
        for verdict in std::mem::take(&mut self.decided.verdicts) {
            let campaign = &rules.campaigns()[asked[verdict.event]];
            let spec = &campaign.spec;
            match verdict.result.map(|answer| answer.state) {
                Ok(StateChange::Unchanged) => {}
                Ok(StateChange::Remove) => united.push(United { campaign: Arc::clone(&spec.name), state: None }),
                Ok(StateChange::Set(bytes)) => {
                    let version = spec.manifest.state_version.unwrap_or_default();
                    let state = StateRow { version, bytes: Vec::from(bytes).into(), changed_ms: case.now };
                    united.push(United { campaign: Arc::clone(&spec.name), state: Some(state) });
                }
                Err(fault) => {
                    let decided = self.merge_failed(campaign, asked[verdict.event], case, &fault, from);
                    case.outcomes.push(outcome(spec, decided));
                }
            }
        }
        self.report_misbehaviour(rules, 0, std::slice::from_ref(case));
        self.failures.unite(&self.memory, from, to, &recipient)?;
        self.rows.unite(from, to, &recipient, united);
        Failpoint::DuringMerge.pass();
        self.redirects.are_some();
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
    ) -> Decided {
        let other = self.rows.campaign(from, &campaign.spec.name).and_then(|row| row.state.clone());
        let code = case.name().into();
        let work = other.map(|other| Work::Merge { id: case.id, code, other });
        self.failed(campaign, index, case, work, fault, "".into())
    }
}
