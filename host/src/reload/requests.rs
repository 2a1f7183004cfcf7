//! Answers requests: status, pause and resume, and suspension by the breaker; rollbacks are in
//! `rollback.rs`. Each change is written to the ledger before it is applied, so it survives a
//! restart. A pause or a suspension is applied even if the ledger cannot be written.

use std::io;

use super::ledger::AcceptedCampaign;
use super::owner::{Entry, Owner, Trigger};
use super::{CampaignState, CampaignStatus, Request, Stage, Target};
use crate::engine::{closest, shown};

impl<S: Stage> Owner<S> {
    /// Answers a request. The sender may be gone; then the answer is dropped.
    pub fn answer(&mut self, request: Request) {
        match request {
            Request::Reload { allow_removals, reply } => {
                let _ = reply.send(self.load(Trigger::Asked { allow_removals }));
            }
            Request::Campaigns { reply } => {
                let _ = reply.send(self.statuses());
            }
            Request::Policies { reply } => {
                let _ = reply.send(self.policies_status());
            }
            // The order stays pending until the new rule set follows it.
            Request::Pause { target, guard, reply } => {
                let answer = self.pause(&target);
                drop(guard);
                let _ = reply.send(answer);
            }
            Request::Resume { target, guard, reply } => {
                let answer = self.resume(&target);
                drop(guard);
                let _ = reply.send(answer);
            }
            Request::Rollback { campaign, reply } => {
                let _ = reply.send(self.rollback(&campaign));
            }
            Request::UndoRollback { campaign, reply } => {
                let _ = reply.send(self.undo_rollback(&campaign));
            }
            Request::Suspend { campaign, generation, misbehaviour, guard } => {
                self.handle_misbehaviour(&campaign, generation, &misbehaviour);
                drop(guard);
            }
        }
    }

    /// Pauses campaigns; returns those that were not paused before.
    ///
    /// # Errors
    /// There is no such campaign, or the ledger cannot be written: then the campaigns are paused
    /// until a restart.
    pub fn pause(&mut self, target: &Target) -> Result<Vec<String>, String> {
        let mut names = self.names_of(target)?;
        match target {
            Target::All => {
                names.retain(|name| !self.is_paused(name));
                self.paused_by_all.extend(names.iter().cloned());
            }
            // Paused by name from now on, so `resume --all` does not lift it.
            Target::Campaign(name) => {
                names.retain(|name| !self.paused.contains(name));
                self.paused_by_all.remove(name);
                self.paused.insert(name.clone());
            }
        }
        if let Err(error) = self.change_states(&names, "paused", |_| {}) {
            // A full disk must not prevent a pause.
            tracing::error!(campaigns = ?names, %error, "paused until the next restart: the ledger \
                cannot be written");
            self.swap();
            self.report_states();
            return Err(format!(
                "paused, but only until the next restart: the ledger cannot be written: {error}; \
                 free space in the data directory, and make it writable"
            ));
        }
        Ok(names)
    }

    /// Lifts pauses and suspensions, and returns the campaigns. For all campaigns: lifts what
    /// `pause --all` paused, which restores the state before it; without such a pause, lifts
    /// everything.
    ///
    /// # Errors
    /// There is no such campaign, or the ledger cannot be written.
    pub fn resume(&mut self, target: &Target) -> Result<Vec<String>, String> {
        let is_suspended = |name: &String| {
            let accepted = self.campaigns.get(name).and_then(|entry| entry.accepted.as_ref());
            accepted.is_some_and(|accepted| accepted.suspended.is_some())
        };
        let only_all = *target == Target::All && !self.paused_by_all.is_empty();
        let is_meant = |name: &String| match only_all {
            true => self.paused_by_all.contains(name),
            false => self.is_paused(name) || is_suspended(name),
        };
        let names: Vec<String> = self.names_of(target)?.into_iter().filter(is_meant).collect();
        let before = (self.paused.clone(), self.paused_by_all.clone());
        match target {
            Target::All if only_all => self.paused_by_all.clear(),
            // `--all` includes pauses of campaigns that have no file at the moment.
            Target::All => self.paused.clear(),
            Target::Campaign(name) => {
                self.paused.remove(name);
                self.paused_by_all.remove(name);
            }
        }
        self.change_states(&names, "resumed", |accepted| {
            if !only_all {
                accepted.suspended = None;
            }
        })
        .map_err(|error| {
            (self.paused, self.paused_by_all) = before;
            cannot_write_ledger(&error)
        })?;
        Ok(names)
    }

    /// Suspends a campaign for the breaker. An order for an older generation is ignored, because
    /// that version no longer runs.
    pub fn suspend(&mut self, campaign: &str, generation: u64, reason: &str) {
        let is_current = |entry: &Entry<_>| {
            entry.running.as_ref().is_some_and(|running| running.generation == generation)
        };
        if !self.campaigns.get(campaign).is_some_and(is_current) {
            return;
        }
        let reason = shown(reason);
        tracing::error!(campaign, reason, "suspended; correct the rule, or `hailer resume` it");
        let suspended = self.change_states(&[campaign.to_owned()], "suspended", |accepted| {
            accepted.suspended.get_or_insert_with(|| reason.clone());
        });
        if let Err(error) = suspended {
            // A full disk must not keep it running: the suspension holds until the restart.
            tracing::error!(campaign, %error, "suspended until the next restart: the ledger cannot \
                be written");
            if let Some(accepted) =
                self.campaigns.get_mut(campaign).and_then(|entry| entry.accepted.as_mut())
            {
                accepted.suspended = Some(reason);
            }
            self.swap();
        }
    }

    /// Writes changed states to the ledger, and then applies them.
    pub(super) fn change_states(
        &mut self,
        names: &[String],
        what: &str,
        change: impl Fn(&mut AcceptedCampaign),
    ) -> io::Result<()> {
        let mut ledger = self.ledger();
        let changed = |(name, _): &(&String, &mut AcceptedCampaign)| names.contains(name);
        ledger.campaigns.iter_mut().filter(changed).for_each(|(_, accepted)| change(accepted));
        self.write_ledger(&mut ledger, [])?;
        for (name, accepted) in ledger.campaigns {
            if let Some(entry) = self.campaigns.get_mut(&name) {
                entry.accepted = Some(accepted);
            }
        }
        for campaign in names {
            tracing::info!(campaign, "campaign {what}");
        }
        self.swap();
        self.report_states();
        Ok(())
    }

    pub(super) fn names_of(&self, target: &Target) -> Result<Vec<String>, String> {
        match target {
            Target::All => Ok(self.campaigns.keys().cloned().collect()),
            Target::Campaign(name) if self.campaigns.contains_key(name) => Ok(vec![name.clone()]),
            Target::Campaign(name) => {
                let hint = match closest(name, self.campaigns.keys().map(String::as_str)) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => "`hailer campaigns` lists them".into(),
                };
                Err(format!("there is no campaign `{}`; {hint}", shown(name)))
            }
        }
    }
}

impl<C> Entry<C> {
    /// The campaign's status.
    pub(super) fn status(&self, name: &str, is_paused: bool) -> CampaignStatus {
        let accepted = self.accepted.as_ref();
        let spec = self.running.as_ref().map(|running| &running.spec);
        let state = match spec {
            None if self.is_waiting => CampaignState::Waiting,
            None => CampaignState::Failed,
            Some(_) if is_paused => CampaignState::Paused,
            Some(_) if accepted.is_some_and(|accepted| accepted.suspended.is_some()) => {
                CampaignState::Suspended
            }
            Some(_) if self.is_waiting => CampaignState::Waiting,
            Some(_) => CampaignState::Running,
        };
        let events = spec
            .map(|spec| spec.manifest.handlers.iter().flat_map(|handler| handler.events.clone()));
        CampaignStatus {
            name: name.to_owned(),
            file: self.file.clone(),
            state,
            mode: spec.map(|spec| spec.mode),
            shadow_of: spec.and_then(|spec| spec.trial.as_ref()).map(|trial| trial.of.to_string()),
            rollout_percent: spec.and_then(|spec| spec.rollout).map(|rollout| rollout.percent),
            version: spec.map(|spec| spec.version.to_string()),
            digest: spec.map(|spec| spec.digest.to_string()),
            start_ms: spec.and_then(|spec| spec.start_ms),
            end_ms: spec.and_then(|spec| spec.end_ms),
            events: events.into_iter().flatten().collect(),
            problem: self.problems.first().cloned(),
            warning: None,
            suspended: accepted.and_then(|accepted| accepted.suspended.clone()),
            refused_digest: accepted.and_then(|accepted| accepted.refused_digest.clone()),
            rolled_back: accepted.and_then(|accepted| accepted.rolled_back.clone()),
        }
    }
}

pub(super) fn cannot_write_ledger(error: &io::Error) -> String {
    format!(
        "cannot write the ledger, so nothing was changed: {error}; free space in the data \
         directory, and make it writable"
    )
}
