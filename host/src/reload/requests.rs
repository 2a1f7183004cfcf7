//! Answering requests: status, the manual brake, and suspension by the engine; rollbacks are in `rollback.rs`. What is decided here outlives
//! a restart: it is written down before it is done. What stops a campaign is done even if it can't be written down.

use std::io;

use super::kept::KeptCampaign;
use super::owner::{Entry, Owner, Trigger};
use super::{CampaignState, CampaignStatus, Request, Stage, Target};
use crate::engine::{closest, shown};

impl<S: Stage> Owner<S> {
    /// Does what is asked, and replies. Whoever asked may have gone; then nobody hears it.
    pub fn answer(&mut self, request: Request) {
        match request {
            Request::Reload { allow_removals, reply } => {
                let _ = reply.send(self.load(Trigger::Asked { allow_removals }));
            }
            Request::Campaigns { reply } => {
                let _ = reply.send(self.statuses());
            }
            // An order is held until the rule set on the stage follows it.
            Request::Pause { target, hold, reply } => {
                let answer = self.pause(&target);
                drop(hold);
                let _ = reply.send(answer);
            }
            Request::Resume { target, hold, reply } => {
                let answer = self.resume(&target);
                drop(hold);
                let _ = reply.send(answer);
            }
            Request::Rollback { campaign, reply } => {
                let _ = reply.send(self.rollback(&campaign));
            }
            Request::UndoRollback { campaign, reply } => {
                let _ = reply.send(self.undo_rollback(&campaign));
            }
            Request::Suspend { campaign, generation, misbehaviour, hold } => {
                self.misbehaves(&campaign, generation, &misbehaviour);
                drop(hold);
            }
        }
    }

    /// Stops calling campaigns; says which were not paused before.
    ///
    /// # Errors
    /// When there is no such campaign; and when it can't be written down: then they are paused until a restart.
    pub fn pause(&mut self, target: &Target) -> Result<Vec<String>, String> {
        let mut names = self.names_of(target)?;
        match target {
            Target::All => {
                names.retain(|name| !self.is_paused(name));
                self.paused_by_all.extend(names.iter().cloned());
            }
            // By name from now on: `resume --all` does not lift that.
            Target::Campaign(name) => {
                names.retain(|name| !self.paused.contains(name));
                self.paused_by_all.remove(name);
                self.paused.insert(name.clone());
            }
        }
        if let Err(error) = self.change_states(&names, "paused", |_| {}) {
            // A full disk must not keep anybody from stopping a campaign.
            tracing::error!(campaigns = ?names, %error, "paused, but it can't be written down and is forgotten at a restart");
            self.swap();
            self.report_states();
            return Err(format!(
                "paused, but it can't be written down and is forgotten at a restart: {error}; make room in the data \
                 directory, and writable"
            ));
        }
        Ok(names)
    }

    /// Lifts pauses and suspensions; says of which campaigns. Of all: what `pause --all` has paused, so that it is as it was before; without
    /// such a pause everything.
    ///
    /// # Errors
    /// When there is no such campaign, or it can't be written down.
    pub fn resume(&mut self, target: &Target) -> Result<Vec<String>, String> {
        let is_suspended = |name: &String| {
            let kept = self.campaigns.get(name).and_then(|entry| entry.kept.as_ref());
            kept.is_some_and(|kept| kept.suspended.is_some())
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
            // Pauses of campaigns that are not there now go too: all means all.
            Target::All => self.paused.clear(),
            Target::Campaign(name) => {
                self.paused.remove(name);
                self.paused_by_all.remove(name);
            }
        }
        self.change_states(&names, "resumed", |kept| {
            if !only_all {
                kept.suspended = None;
            }
        })
        .map_err(|error| {
            (self.paused, self.paused_by_all) = before;
            unwritten(&error)
        })?;
        Ok(names)
    }

    /// The engine found a campaign unfit to run. A suspension of an older generation is of something that is gone.
    pub fn suspend(&mut self, campaign: &str, generation: u64, reason: &str) {
        let is_current =
            |entry: &Entry<_>| entry.running.as_ref().is_some_and(|running| running.generation == generation);
        if !self.campaigns.get(campaign).is_some_and(is_current) {
            return;
        }
        let reason = shown(reason);
        tracing::error!(campaign, reason, "suspended; correct the rule, or `hailer resume` it");
        let suspended = self.change_states(&[campaign.to_owned()], "suspended", |kept| {
            kept.suspended.get_or_insert_with(|| reason.clone());
        });
        if let Err(error) = suspended {
            // It must not run on because a disk is full: this holds until the restart.
            tracing::error!(campaign, %error, "the suspension can't be written down, and is forgotten at a restart");
            if let Some(kept) = self.campaigns.get_mut(campaign).and_then(|entry| entry.kept.as_mut()) {
                kept.suspended = Some(reason);
            }
            self.swap();
        }
    }

    /// Writes changed states down, and only then makes them so.
    pub(super) fn change_states(
        &mut self,
        names: &[String],
        what: &str,
        change: impl Fn(&mut KeptCampaign),
    ) -> io::Result<()> {
        let mut ledger = self.ledger();
        let changed = |(name, _): &(&String, &mut KeptCampaign)| names.contains(name);
        ledger.campaigns.iter_mut().filter(changed).for_each(|(_, kept)| change(kept));
        self.write_down(&mut ledger, std::iter::empty())?;
        for (name, kept) in ledger.campaigns {
            if let Some(entry) = self.campaigns.get_mut(&name) {
                entry.kept = Some(kept);
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
    /// How the campaign stands.
    pub(super) fn status(&self, name: &str, is_paused: bool) -> CampaignStatus {
        let kept = self.kept.as_ref();
        let spec = self.running.as_ref().map(|running| &running.spec);
        let state = match spec {
            None if self.is_waiting => CampaignState::Waiting,
            None => CampaignState::Failed,
            Some(_) if is_paused => CampaignState::Paused,
            Some(_) if kept.is_some_and(|kept| kept.suspended.is_some()) => CampaignState::Suspended,
            Some(_) if self.is_waiting => CampaignState::Waiting,
            Some(_) => CampaignState::Running,
        };
        let events = spec.map(|spec| spec.manifest.handlers.iter().flat_map(|handler| handler.events.clone()));
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
            suspended: kept.and_then(|kept| kept.suspended.clone()),
            refused_digest: kept.and_then(|kept| kept.refused_digest.clone()),
            rolled_back: kept.and_then(|kept| kept.rolled_back.clone()),
        }
    }
}

pub(super) fn unwritten(error: &io::Error) -> String {
    format!("it can't be written down, so nothing was changed: {error}; make room in the data directory, and writable")
}
