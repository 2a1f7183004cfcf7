//! Going back to the version that ran before: asked for by an operator, or by the engine itself when a campaign misbehaves right after a swap.
//!
//! **A rollback outlives a restart**: it is written down before it is done. The version that was left is kept out until another one appears in the
//! directory, or until an operator undoes the rollback.

use metrics::counter;

use super::admission::Admission;
use super::kept::{KeptCampaign, Version};
use super::owner::{Owner, Trigger};
use super::requests::unwritten;
use super::{CampaignStatus, Misbehaviour, Proof, Stage, Target};
use crate::clock::{self, Millis};
use crate::engine::shown;

/// How long a new version has to run until it counts as one that ran well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation {
    pub(super) now: Millis,
    /// 0 if the engine never goes back by itself.
    length_ms: Millis,
}

impl Probation {
    /// The version to go back to from the one that takes the place of `before`: `before` itself, or, if that was suspended or is as new, the
    /// version that ran well before it.
    pub(super) fn ran_well(self, before: &KeptCampaign) -> Option<Version> {
        let this = || Some(before.version.clone());
        match (&before.suspended, self.is_on(before)) {
            (Some(_), _) => before.ran_well.clone(),
            (None, true) => before.ran_well.clone().or_else(this),
            (None, false) => this(),
        }
    }

    /// Whether a version is so new that the engine goes back from it. A clock that went back ends the time: it can't be measured.
    fn is_on(self, kept: &KeptCampaign) -> bool {
        kept.swapped_ms.is_some_and(|swapped| (0..self.length_ms).contains(&(self.now - swapped)))
    }
}

impl<S: Stage> Owner<S> {
    pub(super) fn probation(&self) -> Probation {
        Probation { now: clock::now_ms(), length_ms: self.rollback_ms }
    }

    /// A campaign misbehaves. Right after a swap the engine goes back to the version that ran well; else, or if that can't be done, it suspends
    /// the campaign. What is said of an older generation is of something that is gone.
    pub fn misbehaves(&mut self, campaign: &str, generation: u64, misbehaviour: &Misbehaviour) {
        let entry = self.campaigns.get(campaign);
        let running = entry.and_then(|entry| entry.running.as_ref());
        if running.is_none_or(|running| running.generation != generation) {
            return;
        }
        let reason = shown(misbehaviour.reason());
        let went_back = match misbehaviour {
            Misbehaviour::Unfit(_) => self.go_back(campaign, &reason),
            Misbehaviour::Excessive(_) => false,
        };
        if !went_back {
            self.suspend(campaign, generation, &reason);
        }
    }

    /// Goes back to the version that ran well; `false` if there is none, or it can't be run.
    fn go_back(&mut self, campaign: &str, reason: &str) -> bool {
        let entry = self.campaigns.get(campaign);
        let Some((kept, running)) = entry.and_then(|entry| Some((entry.kept.clone()?, entry.running.as_ref()?))) else {
            return false;
        };
        let Some(ran_well) = kept.ran_well.clone().filter(|_| self.probation().is_on(&kept)) else { return false };
        // A trial is no campaign of its own: without it its campaign decides for everybody.
        if running.spec.trial.is_some() {
            return false;
        }
        let written_by = running.spec.manifest.state_version;
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, self.running_names());
        let taken = match self.revive(&mut admission, campaign, &ran_well, Proof::Renewed) {
            Ok(taken) => taken,
            Err(problems) => {
                let problem = problems.first().map(ToString::to_string);
                tracing::error!(campaign, problem, "the version that ran well before can't run any more");
                return false;
            }
        };
        if taken.running.spec.manifest.state_version < written_by {
            tracing::error!(
                campaign,
                "the version that ran well before can't read the state that this one may have written"
            );
            return false;
        }
        let has_other_module = kept.version.module_digest != ran_well.module_digest;
        let refused_digest =
            if has_other_module { Some(kept.version.module_digest.clone()) } else { kept.refused_digest };
        let after = KeptCampaign {
            refused_digest,
            previous: kept.previous.filter(|_| !has_other_module),
            refused: Some(kept.version),
            rolled_back: Some(reason.to_owned()),
            ..KeptCampaign::of(ran_well, Some(self.stage.terms().to_owned()))
        };
        let mut ledger = self.ledger();
        ledger.campaigns.insert(campaign.to_owned(), after.clone());
        if let Err(error) = self.write_down(&mut ledger, std::iter::once(&taken)) {
            tracing::error!(campaign, %error, "the rollback can't be written down");
            return false;
        }
        let to = &*taken.running.spec.version;
        tracing::error!(
            campaign,
            reason,
            to,
            "rolled back: the new version misbehaves right after its swap; correct it, or `hailer rollback --undo {campaign}`; the events on which it faulted: `hailer failures retry --campaign {campaign}`, and those that came while it was suspended: the same with --missed"
        );
        counter!("hailer_rollbacks_total", "campaign" => campaign.to_owned(), "cause" => "engine").increment(1);
        let entry = self.campaigns.entry(campaign.to_owned()).or_default();
        entry.running = Some(taken.running);
        entry.kept = Some(after);
        entry.refused = None;
        self.swap();
        self.report_states();
        true
    }

    /// Goes back to the module that ran before this one, with the file that it ran with, and keeps this one out.
    ///
    /// # Errors
    /// When there is nothing to go back to, it no longer loads, or it can't be written down.
    pub fn rollback(&mut self, campaign: &str) -> Result<CampaignStatus, String> {
        let name = self.names_of(&Target::Campaign(campaign.to_owned()))?.remove(0);
        let kept = self.campaigns.get(&name).and_then(|entry| entry.kept.clone());
        let Some(KeptCampaign { version, previous: Some(previous), .. }) = kept else {
            let refused = kept.and_then(|kept| kept.refused_digest);
            return Err(match refused {
                Some(refused) => format!(
                    "`{name}` is rolled back already, and {}… is kept out; copy a third module, or have that one run again with `hailer rollback --undo {name}`",
                    &refused[..8]
                ),
                None => {
                    format!("no earlier module of `{name}` is kept; parameters are put back by putting its file back")
                }
            });
        };
        let limits = self.limits.clone();
        let taken = self
            .revive(&mut Admission::new(&limits, self.running_names()), &name, &previous, Proof::Renewed)
            .map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("the version before can't run any more: {}", problems.join("; "))
        })?;
        let mut ledger = self.ledger();
        let kept = KeptCampaign {
            refused_digest: Some(version.module_digest.clone()),
            ..KeptCampaign::of(previous, Some(self.stage.terms().to_owned()))
        };
        ledger.campaigns.insert(name.clone(), kept.clone());
        self.write_down(&mut ledger, std::iter::once(&taken)).map_err(|error| unwritten(&error))?;
        tracing::warn!(campaign = name, from = version.module_digest, to = kept.version.module_digest, "rolled back");
        counter!("hailer_rollbacks_total", "campaign" => name.clone(), "cause" => "asked").increment(1);
        let entry = self.campaigns.entry(name.clone()).or_default();
        entry.running = Some(taken.running);
        entry.kept = Some(kept);
        entry.refused = None;
        self.swap();
        self.report_states();
        Ok(self.status_of(&name))
    }

    /// Ends a rollback: the version that was kept out may run again, and is loaded at once if it lies in the directory.
    ///
    /// # Errors
    /// When there is no rollback, it can't be written down, or the version does not load; then the rollback is over all the same.
    pub fn undo_rollback(&mut self, campaign: &str) -> Result<CampaignStatus, String> {
        let name = self.names_of(&Target::Campaign(campaign.to_owned()))?.remove(0);
        let kept = self.campaigns.get(&name).and_then(|entry| entry.kept.as_ref());
        if kept.is_none_or(|kept| kept.refused_digest.is_none() && kept.refused.is_none()) {
            return Err(format!("`{name}` is not rolled back; `hailer campaigns` shows what runs"));
        }
        self.change_states(std::slice::from_ref(&name), "free to run its refused version", |kept| {
            (kept.refused_digest, kept.refused, kept.rolled_back) = (None, None, None);
        })
        .map_err(|error| unwritten(&error))?;
        self.load(Trigger::Asked { allow_removals: false });
        let status = self.status_of(&name);
        match &status.problem {
            Some(problem) => {
                Err(format!("the rollback is undone, and what lies in the directory does not run: {problem}"))
            }
            None => Ok(status),
        }
    }

    fn status_of(&mut self, name: &str) -> CampaignStatus {
        let is_paused = self.is_paused(name);
        self.campaigns.entry(name.to_owned()).or_default().status(name, is_paused)
    }
}
