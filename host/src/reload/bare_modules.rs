//! The role of bare modules: a module at the top of the directory is a campaign by itself, unless a
//! campaign file names it.

use std::collections::BTreeSet;

use super::campaign_file::module_named_in;
use super::directory::{FileState, Snapshot};
use super::owner::Owner;
use super::plan::{CampaignPlan, LoadPlan};
use super::{Problem, Stage};
use crate::config::BareModules;

impl<S: Stage> Owner<S> {
    /// The modules at the top of the directory that belong to campaign files.
    pub(super) fn claims(&self, snapshot: &Snapshot, load_plan: &LoadPlan<S::Campaign>) -> Claims {
        let mut claims = Claims::default();
        for (name, (file, plan)) in &load_plan.campaigns {
            let current = self
                .campaigns
                .get(name)
                .and_then(|entry| entry.accepted.as_ref())
                .map(|current| &current.version);
            // The running version may come from a bare module that the file is about to take over;
            // such a module is not the file's yet.
            let current = current.filter(|version| version.text_digest.is_some());
            let accepted = match plan {
                CampaignPlan::Load(taken) => Some(&taken.version),
                _ => current,
            };
            claims.accepted.extend(accepted.map(|version| version.module_path.clone()));
            claims.modules.extend(accepted.map(|version| version.module_path.clone()));
            match named_in(snapshot, file) {
                Some(module) => {
                    claims.modules.insert(module);
                }
                None if accepted.is_none() => claims.unreadable = Some(file.clone()),
                None => {}
            }
        }
        claims
    }

    /// Whether a bare module is a campaign.
    pub(super) fn role_of_bare_module(
        &self,
        name: &str,
        file: &str,
        claims: &Claims,
        load_plan: &LoadPlan<S::Campaign>,
    ) -> BareModuleRole {
        let accepted = self.campaigns.get(name).and_then(|entry| entry.accepted.as_ref());
        let runs_bare = accepted.is_some_and(|accepted| accepted.version.text_digest.is_none());
        let has_own_file = load_plan.campaigns.contains_key(name);
        if claims.modules.contains(file) {
            // The campaign file takes the module over once it has been accepted, and not before.
            return if runs_bare && !has_own_file && !claims.accepted.contains(file) {
                BareModuleRole::RunsOn
            } else {
                BareModuleRole::NoCampaign(None)
            };
        }
        let problem = |reason: String, hint: String| {
            BareModuleRole::NoCampaign(Some(Problem::new(file, None, reason, hint)))
        };
        if has_own_file {
            let reason =
                format!("{name}.toml is the campaign `{name}` already, and names another module");
            return problem(reason, "rename the module, or move it to modules/".into());
        }
        if self.bare_modules == BareModules::Refuse {
            let hint =
                format!("write {name}.toml with `module = \"{file}\"` and `mode = \"live\"`");
            return problem("a module without a campaign file is not run here".into(), hint);
        }
        match &claims.unreadable {
            Some(unreadable) if accepted.is_none() => {
                let reason =
                    format!("not started: {unreadable} can't be read, and may name this module");
                problem(reason, format!("correct {unreadable} first"))
            }
            _ => BareModuleRole::Campaign,
        }
    }
}

/// The modules that campaign files name.
#[derive(Default)]
pub(super) struct Claims {
    /// Named by a campaign file, whether accepted or not.
    pub(super) modules: BTreeSet<String>,
    /// Named by a campaign file that has been accepted.
    accepted: BTreeSet<String>,
    /// A campaign file that cannot be read, so it may name any module.
    unreadable: Option<String>,
}

/// The role of a bare module.
pub(super) enum BareModuleRole {
    Campaign,
    /// A running campaign whose module is named by a campaign file that has not been accepted.
    RunsOn,
    NoCampaign(Option<Problem>),
}

fn named_in(snapshot: &Snapshot, file: &str) -> Option<String> {
    match snapshot.files.get(file)? {
        FileState::File { bytes, .. } => module_named_in(std::str::from_utf8(bytes).ok()?),
        FileState::Missing | FileState::Unusable { .. } | FileState::MaybePartial { .. } => None,
    }
}
