//! Plans a load: which campaigns the snapshot contains, and what happens to each.
//!
//! Campaign files come first, because a module that a campaign file names is not a campaign by
//! itself. If a campaign file cannot be read, it may name any module, so no new bare module starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admission::{Admission, Candidate, text_of};
use super::bare_modules::BareModuleRole;
use super::campaign_file::{CampaignFile, PROBLEMS_MAX, is_campaign_name, module_named_in};
use super::directory::{FileState, Snapshot};
use super::ledger::{AcceptedCampaign, Version};
use super::owner::{Entry, Owner, Running, Trigger};
use super::partial_writes::partial_file_problem;
use super::policies_file::{POLICIES_FILE, POLICIES_NAME, PoliciesPlan};
use super::rollback::Probation;
use super::{NoRoom, Problem, Proof, Stage};
use crate::engine::shown;

/// The plan of a load.
#[derive(Debug)]
pub(super) struct LoadPlan<C> {
    /// The file of each campaign in the directory, and the action for the campaign.
    pub(super) campaigns: BTreeMap<String, (String, CampaignPlan<C>)>,
    pub(super) policies: PoliciesPlan,
    /// Problems of files that are not campaigns.
    problems: Vec<Problem>,
}

/// The planned action for one campaign.
#[derive(Debug)]
pub(super) enum CampaignPlan<C> {
    /// The version runs already.
    Unchanged,
    /// A rollback refuses this version.
    RolledBack,
    /// The campaign file or its module is not complete yet.
    Waiting(Problem),
    /// The accepted version keeps running. `version` is `None` if the files could not be read.
    Refused {
        problems: Vec<Problem>,
        version: Option<Version>,
    },
    Load(Box<AdmittedVersion<C>>),
}

/// A version that passed all checks and is ready to run.
#[derive(Debug)]
pub(super) struct AdmittedVersion<C> {
    pub(super) version: Version,
    pub(super) running: Running<C>,
    text: Option<Arc<[u8]>>,
    module: Arc<[u8]>,
}

impl<C> LoadPlan<C> {
    pub(super) fn all_problems(&self) -> Vec<Problem> {
        let of_campaigns = self.campaigns.values().flat_map(|(_, plan)| match plan {
            CampaignPlan::Waiting(problem) => std::slice::from_ref(problem),
            CampaignPlan::Refused { problems, .. } => problems,
            CampaignPlan::Unchanged | CampaignPlan::RolledBack | CampaignPlan::Load(_) => &[],
        });
        let others = self.problems.iter().chain(self.policies.problems());
        let mut all: Vec<Problem> = others.chain(of_campaigns).cloned().collect();
        all.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        all
    }

    /// The bytes to store, with their digests.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let taken = self.campaigns.values().filter_map(|(_, plan)| match plan {
            CampaignPlan::Load(taken) => Some(&**taken),
            _ => None,
        });
        taken.flat_map(AdmittedVersion::bytes).chain(self.policies.bytes())
    }
}

impl<C> AdmittedVersion<C> {
    /// The bytes to store, with their digests.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let text = self.version.text_digest.as_deref().zip(self.text.as_deref());
        text.into_iter().chain([(&*self.version.module_digest, &*self.module)])
    }

    /// The ledger entry of the campaign after the swap, which happens at `probation.now`.
    pub(super) fn accepted_after(
        &self,
        before: Option<&AcceptedCampaign>,
        campaigns: &BTreeMap<String, Entry<C>>,
        terms: &str,
        probation: Probation,
    ) -> AcceptedCampaign {
        let fresh = AcceptedCampaign::of(self.version.clone(), Some(terms.to_owned()));
        let now = probation.now;
        let Some(before) = before else {
            return AcceptedCampaign { swapped_ms: Some(now), ..fresh };
        };
        let has_new_module = before.version.module_digest != fresh.version.module_digest;
        let previous =
            if has_new_module { Some(before.version.clone()) } else { before.previous.clone() };
        // A rollback lasts until a third module has been accepted; the module that it went back to
        // is not a third one.
        let refused_digest = before.refused_digest.clone().filter(|_| !has_new_module);
        let running =
            campaigns.get(&*self.running.spec.name).and_then(|entry| entry.running.as_ref());
        let is_what_ran =
            running.is_some_and(|running| running.generation == self.running.generation);
        let accepted = AcceptedCampaign { previous, refused_digest, ..fresh };
        if is_what_ran {
            // Suspension and rollback concern this code with these parameters.
            let AcceptedCampaign { suspended, swapped_ms, ran_well, refused, rolled_back, .. } =
                before.clone();
            return AcceptedCampaign {
                suspended,
                swapped_ms,
                ran_well,
                refused,
                rolled_back,
                ..accepted
            };
        }
        AcceptedCampaign { swapped_ms: Some(now), ran_well: probation.ran_well(before), ..accepted }
    }
}

impl<S: Stage> Owner<S> {
    pub(super) fn plan_load(
        &mut self,
        snapshot: &Snapshot,
        trigger: Trigger,
    ) -> LoadPlan<S::Campaign> {
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, self.running_names());
        let mut load_plan = LoadPlan {
            campaigns: BTreeMap::new(),
            policies: self.plan_policies(snapshot),
            problems: snapshot.problems.clone(),
        };
        let top = |ending: &'static str| {
            let names = snapshot.files.keys().filter(|path| !path.contains('/'));
            names.filter_map(move |file| Some((file, file.strip_suffix(ending)?)))
        };
        for (file, name) in top(".toml").filter(|(file, _)| *file != POLICIES_FILE) {
            if !is_campaign_name(name) {
                load_plan.problems.push(misnamed(file));
                continue;
            }
            let plan = self.plan_campaign_file(&mut admission, snapshot, name, file, trigger);
            load_plan.campaigns.insert(name.to_owned(), (file.clone(), plan));
        }
        let claims = self.claims(snapshot, &load_plan);
        for (file, name) in top(".wasm") {
            if !is_campaign_name(name) && !claims.modules.contains(file) {
                let accepted = self.campaigns.get(name).filter(|entry| entry.accepted.is_some());
                match accepted {
                    None => load_plan.problems.push(misnamed(file)),
                    // An older engine accepted this name; the campaign runs on.
                    Some(_) => {
                        let problems = vec![misnamed(file)];
                        let plan = CampaignPlan::Refused { problems, version: None };
                        load_plan.campaigns.insert(name.to_owned(), (file.clone(), plan));
                    }
                }
                continue;
            }
            match self.role_of_bare_module(name, file, &claims, &load_plan) {
                BareModuleRole::Campaign => {
                    let plan = self.plan_bare_module(&mut admission, snapshot, name, file, trigger);
                    load_plan.campaigns.insert(name.to_owned(), (file.clone(), plan));
                }
                BareModuleRole::RunsOn => {
                    load_plan
                        .campaigns
                        .insert(name.to_owned(), (file.clone(), CampaignPlan::Unchanged));
                }
                BareModuleRole::NoCampaign(problem) => load_plan.problems.extend(problem),
            }
        }
        self.check_trials(&mut load_plan);
        load_plan
    }

    fn plan_campaign_file(
        &mut self,
        admission: &mut Admission<'_>,
        snapshot: &Snapshot,
        name: &str,
        file: &str,
        trigger: Trigger,
    ) -> CampaignPlan<S::Campaign> {
        let refused = |problems| CampaignPlan::Refused { problems, version: None };
        if let Some(problem) = partial_file_problem(snapshot, file, file) {
            return CampaignPlan::Waiting(problem);
        }
        let (text, text_digest) = match read(snapshot, file, file, "the campaign file") {
            Ok(read) => read,
            Err(problem) => return refused(vec![problem]),
        };
        let campaign_file =
            match text_of(file, &text).and_then(|text| CampaignFile::parse(file, text)) {
                Ok(campaign_file) => campaign_file,
                Err(mut problems) => {
                    problems.extend(problems_of_params(admission, snapshot, file, &text));
                    problems.sort_by_key(|problem| problem.line);
                    problems.truncate(PROBLEMS_MAX);
                    return refused(problems);
                }
            };
        let module_path = campaign_file.module;
        if let Some(problem) = partial_file_problem(snapshot, &module_path, file) {
            return CampaignPlan::Waiting(problem);
        }
        let module = read(snapshot, &module_path, file, &format!("the module {module_path}"));
        let fits = |digest: &str| {
            campaign_file.digest.as_ref().is_none_or(|pinned| digest.starts_with(&**pinned))
        };
        let (module, module_digest) = match module {
            Ok((module, digest)) if fits(&digest) => (module, digest),
            Err(problem) if campaign_file.digest.is_none() => return refused(vec![problem]),
            unfit => {
                let pinned = campaign_file.digest.unwrap_or_default();
                let found = unfit.map_or("is not there or can't be read".into(), |(_, digest)| {
                    format!("has the digest {}…", &digest[..8])
                });
                let reason =
                    format!("waits for a module with the digest {pinned}; {module_path} {found}");
                let hint = format!(
                    "copy that module to {module_path}, or correct `digest`; both swap together"
                );
                return CampaignPlan::Waiting(Problem::new(file, None, reason, hint));
            }
        };
        let (candidate, version) = candidate_and_version(
            name,
            file,
            Some((text, text_digest)),
            module_path,
            (module, module_digest),
        );
        self.plan_version(admission, candidate, version, trigger)
    }

    fn plan_bare_module(
        &mut self,
        admission: &mut Admission<'_>,
        snapshot: &Snapshot,
        name: &str,
        file: &str,
        trigger: Trigger,
    ) -> CampaignPlan<S::Campaign> {
        if let Some(problem) = partial_file_problem(snapshot, file, file) {
            return CampaignPlan::Waiting(problem);
        }
        let module = match read(snapshot, file, file, "the module") {
            Ok(read) => read,
            Err(problem) => {
                return CampaignPlan::Refused { problems: vec![problem], version: None };
            }
        };
        let (candidate, version) = candidate_and_version(name, file, None, file.into(), module);
        self.plan_version(admission, candidate, version, trigger)
    }

    fn plan_version(
        &mut self,
        admission: &mut Admission<'_>,
        candidate: Candidate,
        version: Version,
        trigger: Trigger,
    ) -> CampaignPlan<S::Campaign> {
        let entry = self.campaigns.get(&candidate.name);
        if let Some(accepted) = entry.and_then(|entry| entry.accepted.as_ref()) {
            if accepted.refuses(&version) {
                return CampaignPlan::RolledBack;
            }
            if accepted.version == version && entry.is_some_and(|entry| entry.running.is_some()) {
                return CampaignPlan::Unchanged;
            }
        }
        if let Some(entry) = entry
            && trigger == Trigger::Changed
            && entry.refused.as_ref() == Some(&version)
        {
            return CampaignPlan::Refused {
                problems: entry.problems.clone(),
                version: Some(version),
            };
        }
        let name = candidate.name.clone();
        match self.admit(admission, candidate, version.clone(), Some(&name), Proof::Needed) {
            Ok(taken) => CampaignPlan::Load(Box::new(taken)),
            Err(problems) => CampaignPlan::Refused { problems, version: Some(version) },
        }
    }

    /// Checks a candidate, and compiles and tests it. `running_as` names the campaign whose
    /// generation continues if neither module nor parameters changed.
    pub(super) fn admit(
        &mut self,
        admission: &mut Admission<'_>,
        candidate: Candidate,
        version: Version,
        running_as: Option<&str>,
        proof: Proof,
    ) -> Result<AdmittedVersion<S::Campaign>, Vec<Problem>> {
        let checked = admission.check(&candidate)?;
        self.stage.has_room_for(admission.campaigns_with(&candidate.name)).map_err(
            |NoRoom { reason, hint }| {
                vec![Problem::new(
                    &candidate.file,
                    None,
                    format!("no room for one more campaign: {reason}"),
                    hint,
                )]
            },
        )?;
        let running = running_as.and_then(|name| self.campaigns.get(name)?.running.as_ref());
        let is_what_runs = |running: &&Running<_>| {
            running.spec.digest == checked.spec.digest && running.spec.params == checked.spec.params
        };
        let generation = running.filter(is_what_runs).map(|running| running.generation);
        let generation = generation.unwrap_or_else(|| self.next_generation());
        let campaign = self.stage.admit(checked.spec.clone(), &checked.module, generation, proof);
        let campaign = campaign.map_err(|reason| {
            let hint =
                "correct the rule and copy it again; `hailer reload` tries this one once more";
            vec![Problem::new(&candidate.file, None, shown_lines(&reason), hint)]
        })?;
        admission.run(candidate.name);
        let running = Running { spec: checked.spec, generation, campaign };
        Ok(AdmittedVersion { version, running, text: candidate.text, module: candidate.module })
    }
}

/// Problems with the parameters of a campaign file that has other problems, if its module can be
/// found.
fn problems_of_params(
    admission: &mut Admission<'_>,
    snapshot: &Snapshot,
    file: &str,
    text: &[u8],
) -> Vec<Problem> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let module =
        module_named_in(text).and_then(|path| read(snapshot, &path, file, "the module").ok());
    module.map_or_else(Vec::new, |(module, _)| admission.problems_of_params(file, text, &module))
}

/// A file's bytes and their digest.
type FileBytes = (Arc<[u8]>, Arc<str>);

/// Builds a candidate and its version. `text` is the campaign file; `None` for a bare module.
fn candidate_and_version(
    name: &str,
    file: &str,
    text: Option<FileBytes>,
    module_path: String,
    module: FileBytes,
) -> (Candidate, Version) {
    let (text, text_digest) = text.unzip();
    let (module, module_digest) = module;
    let version = Version {
        file: file.into(),
        text_digest: text_digest.map(|digest| digest.to_string()),
        module_path: module_path.clone(),
        module_digest: module_digest.to_string(),
    };
    (Candidate { name: name.into(), file: file.into(), text, module_path, module }, version)
}

/// Reads one file of the snapshot; `file` is the campaign's file, for the problem.
fn read(snapshot: &Snapshot, path: &str, file: &str, what: &str) -> Result<FileBytes, Problem> {
    match snapshot.files.get(path) {
        Some(FileState::File { bytes, digest, .. }) => Ok((Arc::clone(bytes), Arc::clone(digest))),
        Some(FileState::Unusable { reason, hint }) if path == file => {
            Err(Problem::new(file, None, reason, hint))
        }
        Some(FileState::Unusable { reason, hint }) => {
            Err(Problem::new(file, None, format!("{what}: {reason}"), hint))
        }
        Some(FileState::Missing | FileState::MaybePartial { .. }) | None => {
            let reason = format!("{what} is not there");
            Err(Problem::new(
                file,
                None,
                reason,
                format!("copy it to {path} in the rules directory"),
            ))
        }
    }
}

fn misnamed(file: &str) -> Problem {
    if file.strip_suffix(".wasm") == Some(POLICIES_NAME) {
        let reason = format!("the name `{POLICIES_NAME}` is reserved for {POLICIES_FILE}");
        return Problem::new(file, None, reason, "rename the module");
    }
    let reason = format!("`{}` can't name a campaign", shown(file));
    let hint = "rename it: up to 64 of `a-z`, `0-9`, `-` and `_`, a letter or digit first";
    Problem::new(shown(file), None, reason, hint)
}

/// Escapes the reason for display, because it may contain a guest's log.
fn shown_lines(reason: &str) -> String {
    reason.lines().take(8).map(shown).collect::<Vec<_>>().join("; ")
}
