//! The file `policies.toml` at the top of the rules directory: it is read in the same snapshot as
//! the campaigns, and swapped in the same rule set.
//!
//! **The engine never quietly runs under fewer policies than it accepted (G9).** If the file is
//! unusable, the last good policies stay and new campaigns wait. If it is gone, nothing changes
//! until a person confirms the removal. An engine that has no good policies refuses to start.

use std::sync::Arc;

use hailer_policies::{Mistake, Policies};
use serde::{Deserialize, Serialize};

use super::directory::{FileState, Snapshot};
use super::error::LoadError;
use super::ledger::AcceptedPolicies;
use super::owner::Owner;
use super::partial_writes::partial_file_problem;
use super::plan::{CampaignPlan, LoadPlan};
use super::{Problem, Stage};

/// The file's path, relative to the rules directory.
pub(super) const POLICIES_FILE: &str = "policies.toml";
/// The name that no campaign may have, because its file would be `policies.toml`.
pub const POLICIES_NAME: &str = "policies";

/// The policies that apply, and the state of their file.
#[derive(Debug, Default)]
pub(super) struct PoliciesEntry {
    /// The accepted file; `None` if no file was accepted.
    pub(super) accepted: Option<AcceptedPolicies>,
    /// The policies that apply; `None` although a file was accepted if it could not be restored.
    /// The engine does not start in that case.
    pub(super) running: Option<Arc<Policies>>,
    /// The problems of the file as it is now.
    pub(super) problems: Vec<Problem>,
}

/// The planned action for the policies.
#[derive(Debug)]
pub(super) enum PoliciesPlan {
    /// There is no file, and none was accepted.
    Absent,
    /// The file applies already.
    Unchanged,
    /// The file passed all checks.
    Load { policies: Arc<Policies>, text: Arc<[u8]> },
    /// The file cannot be used, or may be incomplete. The last good policies stay.
    Unusable(Vec<Problem>),
    /// The accepted file is gone.
    Gone,
}

/// How a load changed the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoliciesChange {
    Added,
    Changed,
    Removed,
}

impl PoliciesChange {
    /// The change's name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PoliciesChange::Added => "added",
            PoliciesChange::Changed => "changed",
            PoliciesChange::Removed => "removed",
        }
    }
}

/// The policies of the running engine, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesStatus {
    /// The digest of the file whose policies apply; `None` without policies.
    pub digest: Option<String>,
    /// The problems of the file as it is now; the policies that apply are not affected.
    pub problems: Vec<Problem>,
    /// Names in the file to which no campaign belongs.
    pub warnings: Vec<Problem>,
}

impl PoliciesPlan {
    pub(super) fn problems(&self) -> &[Problem] {
        match self {
            PoliciesPlan::Unusable(problems) => problems,
            _ => &[],
        }
    }

    /// The digest and the bytes to store; `None` if there is nothing new.
    pub(super) fn bytes(&self) -> Option<(&str, &[u8])> {
        match self {
            PoliciesPlan::Load { policies, text } => Some((&policies.digest, text)),
            _ => None,
        }
    }
}

impl<S: Stage> Owner<S> {
    /// Restores the accepted policies after a restart.
    pub(super) fn restore_policies(&mut self, accepted: Option<AcceptedPolicies>) {
        let Some(AcceptedPolicies { digest }) = &accepted else { return };
        let parsed = match self.ledger_files.read(digest) {
            Ok(text) => {
                Policies::parse(&text).map_err(|mistakes| problems_of(POLICIES_FILE, &mistakes))
            }
            Err(error) => {
                let reason = format!("cannot use the stored policies: {error}");
                let hint = "put a good policies.toml into the rules directory";
                Err(vec![Problem::new(POLICIES_FILE, None, reason, hint)])
            }
        };
        let (running, problems) = match parsed {
            Ok(policies) => (Some(Arc::new(policies)), Vec::new()),
            Err(problems) => (None, problems),
        };
        self.policies = PoliciesEntry { accepted, running, problems };
    }

    /// Plans what happens to the policies.
    pub(super) fn plan_policies(&self, snapshot: &Snapshot) -> PoliciesPlan {
        if let Some(problem) = partial_file_problem(snapshot, POLICIES_FILE, POLICIES_FILE) {
            return PoliciesPlan::Unusable(vec![problem]);
        }
        let Some(file) = snapshot.files.get(POLICIES_FILE) else {
            return match self.policies.accepted {
                Some(_) => PoliciesPlan::Gone,
                None => PoliciesPlan::Absent,
            };
        };
        let (bytes, digest) = match contents(file) {
            Ok(contents) => contents,
            Err(problem) => return PoliciesPlan::Unusable(vec![problem]),
        };
        let applies = |policies: &Arc<Policies>| policies.digest == *digest;
        if self.policies.running.as_ref().is_some_and(applies) {
            return PoliciesPlan::Unchanged;
        }
        match Policies::parse(bytes) {
            Ok(policies) => {
                PoliciesPlan::Load { policies: Arc::new(policies), text: Arc::clone(bytes) }
            }
            Err(mistakes) => PoliciesPlan::Unusable(problems_of(POLICIES_FILE, &mistakes)),
        }
    }

    /// Refuses a start whose policies cannot be used, if there are no good ones of this directory.
    pub(super) fn check_policies_at_start(
        &self,
        load_plan: &LoadPlan<S::Campaign>,
    ) -> Result<(), LoadError> {
        let has_good = self.policies.running.is_some() && !self.is_other_directory;
        if self.swapped || has_good || load_plan.policies.problems().is_empty() {
            return Ok(());
        }
        let restored = self.policies.problems.iter().cloned();
        Err(LoadError::Policies(restored.chain(load_plan.all_problems()).collect()))
    }

    /// Refuses a start whose accepted policies could not be restored.
    pub(super) fn check_policies_are_restored(&self) -> Result<(), LoadError> {
        match (&self.policies.accepted, &self.policies.running) {
            (Some(_), None) => Err(LoadError::Policies(self.policies.problems.clone())),
            _ => Ok(()),
        }
    }

    /// Makes new campaigns wait while the file is unusable: it may restrict them, or name them.
    pub(super) fn hold_new_campaigns(&self, load_plan: &mut LoadPlan<S::Campaign>) {
        let Some(first) = load_plan.policies.problems().first() else { return };
        let line = first.line.map(|line| format!("{line}:")).unwrap_or_default();
        let reason = format!(
            "a new campaign waits until the policies can be read: {}:{line} {}",
            first.file, first.reason
        );
        for (name, (file, plan)) in &mut load_plan.campaigns {
            let is_new = self.campaigns.get(name).is_none_or(|entry| entry.accepted.is_none());
            if is_new && matches!(plan, CampaignPlan::Load(_)) {
                let hint = format!("correct {POLICIES_FILE}; the campaign then starts by itself");
                *plan =
                    CampaignPlan::Waiting(Problem::new(file.clone(), None, reason.clone(), hint));
            }
        }
    }

    /// Applies a plan for the policies, whose ledger has been written.
    pub(super) fn apply_policies(&mut self, plan: PoliciesPlan) {
        match plan {
            PoliciesPlan::Absent | PoliciesPlan::Gone => self.policies = PoliciesEntry::default(),
            PoliciesPlan::Unchanged => self.policies.problems.clear(),
            PoliciesPlan::Unusable(problems) => self.policies.problems = problems,
            PoliciesPlan::Load { policies, .. } => {
                self.policies = PoliciesEntry {
                    accepted: Some(AcceptedPolicies { digest: policies.digest.to_string() }),
                    running: Some(policies),
                    problems: Vec::new(),
                };
            }
        }
    }

    /// One warning for each name in the policies to which no campaign belongs.
    pub(super) fn policy_warnings(&self) -> Vec<Problem> {
        let Some(policies) = &self.policies.running else { return Vec::new() };
        problems_of(POLICIES_FILE, &policies.warnings(self.campaigns.keys().map(String::as_str)))
    }

    /// The digest of the policies that apply; `None` without policies.
    pub(super) fn policies_digest(&self) -> Option<String> {
        self.policies.running.as_ref().map(|policies| policies.digest.to_string())
    }

    /// The status of the policies.
    #[must_use]
    pub fn policies_status(&self) -> PoliciesStatus {
        PoliciesStatus {
            digest: self.policies_digest(),
            problems: self.policies.problems.clone(),
            warnings: self.policy_warnings(),
        }
    }
}

/// The contents of the file and their digest.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn contents(file: &FileState) -> Result<(&Arc<[u8]>, &Arc<str>), Problem> {
    let problem = |reason: &str, hint: &str| Err(Problem::new(POLICIES_FILE, None, reason, hint));
    match file {
        FileState::File { bytes, digest, .. } => Ok((bytes, digest)),
        FileState::Unusable { reason, hint } => problem(reason, hint),
        FileState::Missing | FileState::MaybePartial { .. } => problem(
            "the file that the link names is not there",
            "put the file there, or correct the link",
        ),
    }
}

/// The mistakes as problems of the file with this name.
pub(super) fn problems_of(file: &str, mistakes: &[Mistake]) -> Vec<Problem> {
    let problem =
        |mistake: &Mistake| Problem::new(file, mistake.line, &mistake.reason, &mistake.hint);
    mistakes.iter().map(problem).collect()
}

/// The beginning of a digest, which people compare.
#[must_use]
pub fn digest_shown(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}
