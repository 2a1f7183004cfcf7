//! Goes back to the previous version, for an operator, or automatically when a campaign misbehaves
//! right after a swap.
//!
//! **A rollback outlives a restart**: the ledger is written before the rollback is applied. The
//! version that was left is refused until another one appears in the directory, or until an
//! operator undoes the rollback.

use metrics::counter;

use super::admission::Admission;
use super::ledger::{AcceptedCampaign, Version};
use super::owner::{Owner, Trigger};
use super::requests::cannot_write_ledger;
use super::{CampaignStatus, Proof, Stage, Target};
use crate::clock::{self, Millis};
use crate::engine::shown;
use crate::pipeline::Misbehaviour;

/// The period after a swap during which a new version has not proved itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation {
    pub(super) now: Millis,
    /// Length of the period in ms; 0 disables automatic rollback.
    length_ms: Millis,
}

impl Probation {
    /// The rollback target of the version that replaces `before`: `before` itself, or the version
    /// that ran well before it, if `before` is suspended or on probation.
    pub(super) fn ran_well(self, before: &AcceptedCampaign) -> Option<Version> {
        let this = || Some(before.version.clone());
        match (&before.suspended, self.is_on(before)) {
            (Some(_), _) => before.ran_well.clone(),
            (None, true) => before.ran_well.clone().or_else(this),
            (None, false) => this(),
        }
    }

    /// Whether a version is so new that it is rolled back automatically. A clock that went back
    /// ends the period, because its length cannot be measured.
    fn is_on(self, accepted: &AcceptedCampaign) -> bool {
        accepted
            .swapped_ms
            .is_some_and(|swapped| (0..self.length_ms).contains(&(self.now - swapped)))
    }
}

impl<S: Stage> Owner<S> {
    pub(super) fn probation(&self) -> Probation {
        Probation { now: clock::now_ms(), length_ms: self.rollback_ms }
    }

    /// Handles a misbehaving campaign. Right after a swap, rolls back to the version that ran well;
    /// otherwise, or if that fails, suspends the campaign. Ignores reports about an older
    /// generation, which no longer runs.
    pub fn handle_misbehaviour(
        &mut self,
        campaign: &str,
        generation: u64,
        misbehaviour: &Misbehaviour,
    ) {
        let entry = self.campaigns.get(campaign);
        let running = entry.and_then(|entry| entry.running.as_ref());
        if running.is_none_or(|running| running.generation != generation) {
            return;
        }
        let reason = shown(misbehaviour.reason());
        let rolled_back = match misbehaviour {
            Misbehaviour::Unfit(_) => self.roll_back_automatically(campaign, &reason),
            Misbehaviour::Excessive(_) => false,
        };
        if !rolled_back {
            self.suspend(campaign, generation, &reason);
        }
    }

    /// Rolls back to the version that ran well; `false` if there is none or it cannot run.
    fn roll_back_automatically(&mut self, campaign: &str, reason: &str) -> bool {
        let entry = self.campaigns.get(campaign);
        let Some((accepted, running)) =
            entry.and_then(|entry| Some((entry.accepted.clone()?, entry.running.as_ref()?)))
        else {
            return false;
        };
        let Some(ran_well) =
            accepted.ran_well.clone().filter(|_| self.probation().is_on(&accepted))
        else {
            return false;
        };
        // A trial needs no rollback: without it, its campaign decides for all customers.
        if running.spec.trial.is_some() {
            return false;
        }
        let written_by = running.spec.manifest.state_version;
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, self.running_names());
        let taken =
            match self.admit_from_ledger(&mut admission, campaign, &ran_well, Proof::Renewed) {
                Ok(taken) => taken,
                Err(problems) => {
                    let problem = problems.first().map(ToString::to_string);
                    tracing::error!(
                        campaign,
                        problem,
                        "the version that ran well before can no longer run"
                    );
                    return false;
                }
            };
        if taken.running.spec.manifest.state_version < written_by {
            tracing::error!(
                campaign,
                "the version that ran well before cannot read the state that the present version \
                 may have written"
            );
            return false;
        }
        let has_other_module = accepted.version.module_digest != ran_well.module_digest;
        let refused_digest = if has_other_module {
            Some(accepted.version.module_digest.clone())
        } else {
            accepted.refused_digest
        };
        let after = AcceptedCampaign {
            refused_digest,
            previous: accepted.previous.filter(|_| !has_other_module),
            refused: Some(accepted.version),
            rolled_back: Some(reason.to_owned()),
            ..AcceptedCampaign::of(ran_well, Some(self.stage.terms().to_owned()))
        };
        let mut ledger = self.ledger();
        ledger.campaigns.insert(campaign.to_owned(), after.clone());
        if let Err(error) = self.write_ledger(&mut ledger, taken.bytes()) {
            tracing::error!(campaign, %error, "cannot write the rollback to the ledger");
            return false;
        }
        let to = &*taken.running.spec.version;
        tracing::error!(
            campaign,
            reason,
            to,
            "rolled back: the new version misbehaved right after its swap; correct it, or `hailer \
             rollback --undo {campaign}`; the events on which it faulted: `hailer failures retry \
             --campaign {campaign}`, and those that came while it was suspended: the same with \
             --missed"
        );
        counter!("hailer_rollbacks_total", "campaign" => campaign.to_owned(), "cause" => "engine")
            .increment(1);
        let entry = self.campaigns.entry(campaign.to_owned()).or_default();
        entry.running = Some(taken.running);
        entry.accepted = Some(after);
        entry.refused = None;
        self.swap();
        self.report_states();
        true
    }

    /// Goes back to the module that ran before the present one, with its campaign file, and refuses
    /// the present one.
    ///
    /// # Errors
    /// There is no previous version, it no longer loads, or the ledger cannot be written.
    pub fn rollback(&mut self, campaign: &str) -> Result<CampaignStatus, String> {
        let name = self.names_of(&Target::Campaign(campaign.to_owned()))?.remove(0);
        let accepted = self.campaigns.get(&name).and_then(|entry| entry.accepted.clone());
        let Some(AcceptedCampaign { version, previous: Some(previous), .. }) = accepted else {
            let refused = accepted.and_then(|accepted| accepted.refused_digest);
            return Err(match refused {
                Some(refused) => format!(
                    "`{name}` is rolled back already, and {}… is refused; copy a third module, \
                     or run that one again with `hailer rollback --undo {name}`",
                    &refused[..8]
                ),
                None => {
                    format!(
                        "no earlier module of `{name}` is stored; to restore parameters, put the \
                         campaign's file back"
                    )
                }
            });
        };
        let limits = self.limits.clone();
        let taken = self
            .admit_from_ledger(
                &mut Admission::new(&limits, self.running_names()),
                &name,
                &previous,
                Proof::Renewed,
            )
            .map_err(|problems| {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                format!("the previous version can no longer run: {}", problems.join("; "))
            })?;
        let mut ledger = self.ledger();
        let accepted = AcceptedCampaign {
            refused_digest: Some(version.module_digest.clone()),
            ..AcceptedCampaign::of(previous, Some(self.stage.terms().to_owned()))
        };
        ledger.campaigns.insert(name.clone(), accepted.clone());
        self.write_ledger(&mut ledger, taken.bytes())
            .map_err(|error| cannot_write_ledger(&error))?;
        tracing::warn!(
            campaign = name,
            from = version.module_digest,
            to = accepted.version.module_digest,
            "rolled back"
        );
        counter!("hailer_rollbacks_total", "campaign" => name.clone(), "cause" => "asked")
            .increment(1);
        let entry = self.campaigns.entry(name.clone()).or_default();
        entry.running = Some(taken.running);
        entry.accepted = Some(accepted);
        entry.refused = None;
        self.swap();
        self.report_states();
        Ok(self.status_of(&name))
    }

    /// Ends a rollback: the refused version may run again, and is loaded at once if it is in the
    /// directory.
    ///
    /// # Errors
    /// There is no rollback, the ledger cannot be written, or the version does not load. In the
    /// last case the rollback is over nevertheless.
    pub fn undo_rollback(&mut self, campaign: &str) -> Result<CampaignStatus, String> {
        let name = self.names_of(&Target::Campaign(campaign.to_owned()))?.remove(0);
        let accepted = self.campaigns.get(&name).and_then(|entry| entry.accepted.as_ref());
        if accepted
            .is_none_or(|accepted| accepted.refused_digest.is_none() && accepted.refused.is_none())
        {
            return Err(format!("`{name}` is not rolled back; `hailer campaigns` shows what runs"));
        }
        self.change_states(
            std::slice::from_ref(&name),
            "free to run its refused version",
            |accepted| {
                (accepted.refused_digest, accepted.refused, accepted.rolled_back) =
                    (None, None, None);
            },
        )
        .map_err(|error| cannot_write_ledger(&error))?;
        self.load(Trigger::Asked { allow_removals: false });
        let status = self.status_of(&name);
        match &status.problem {
            Some(problem) => Err(format!(
                "the rollback is undone, but the version in the directory does not run: {problem}"
            )),
            None => Ok(status),
        }
    }

    fn status_of(&mut self, name: &str) -> CampaignStatus {
        let is_paused = self.is_paused(name);
        self.campaigns.entry(name.to_owned()).or_default().status(name, is_paused)
    }
}
