//! Judging a snapshot: which campaigns the directory holds, and what becomes of each.
//!
//! Campaign files come first, because a module that one of them names is no campaign by itself. Where that is in
//! doubt, because a campaign file can't be read, nothing new starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::admission::{Admission, Application, text_of};
use super::campaign_file::{CampaignFile, PROBLEMS_MAX, is_campaign_name, module_named_in};
use super::directory::{Found, Snapshot};
use super::kept::{KeptCampaign, Version};
use super::owner::{Entry, Owner, Running, Trigger};
use super::rollback::Probation;
use super::settling::unsettled;
use super::{NoRoom, Problem, Proof, Stage};
use crate::config::BareModules;
use crate::engine::{CampaignSpec, closest, shown};

/// What a snapshot comes to.
#[derive(Debug)]
pub(super) struct Judged<C> {
    /// Every campaign that the directory holds: its file, and what becomes of it.
    pub(super) verdicts: BTreeMap<String, (String, Verdict<C>)>,
    /// Files that make no campaign.
    problems: Vec<Problem>,
}

/// What becomes of one campaign.
#[derive(Debug)]
pub(super) enum Verdict<C> {
    /// It runs already.
    Same,
    /// It was rolled back from this module.
    KeptOut,
    /// Its file and its module do not belong together yet.
    Waiting(Problem),
    /// What ran goes on. The version is known if the pair could be read.
    Refused {
        problems: Vec<Problem>,
        version: Option<Version>,
    },
    Taken(Box<Taken<C>>),
}

/// A version that has been admitted to the stage and is to run.
#[derive(Debug)]
pub(super) struct Taken<C> {
    pub(super) version: Version,
    pub(super) running: Running<C>,
    text: Option<Arc<[u8]>>,
    module: Arc<[u8]>,
}

impl<C> Judged<C> {
    pub(super) fn all_problems(&self) -> Vec<Problem> {
        let of_campaigns = self.verdicts.values().flat_map(|(_, verdict)| match verdict {
            Verdict::Waiting(problem) => std::slice::from_ref(problem),
            Verdict::Refused { problems, .. } => problems,
            Verdict::Same | Verdict::KeptOut | Verdict::Taken(_) => &[],
        });
        let mut all: Vec<Problem> = self.problems.iter().chain(of_campaigns).cloned().collect();
        all.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        all
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = &Taken<C>> {
        self.verdicts.values().filter_map(|(_, verdict)| match verdict {
            Verdict::Taken(taken) => Some(&**taken),
            _ => None,
        })
    }
}

impl<C> Taken<C> {
    /// The bytes to keep, by digest.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let text = self.version.text_digest.as_deref().zip(self.text.as_deref());
        text.into_iter().chain([(&*self.version.module_digest, &*self.module)])
    }

    /// What is kept of the campaign once this version runs. `now` is the time of the swap.
    pub(super) fn kept_after(
        &self,
        before: Option<&KeptCampaign>,
        campaigns: &BTreeMap<String, Entry<C>>,
        terms: &str,
        probation: Probation,
    ) -> KeptCampaign {
        let fresh = KeptCampaign::of(self.version.clone(), Some(terms.to_owned()));
        let now = probation.now;
        let Some(before) = before else { return KeptCampaign { swapped_ms: Some(now), ..fresh } };
        let has_new_module = before.version.module_digest != fresh.version.module_digest;
        let previous = if has_new_module { Some(before.version.clone()) } else { before.previous.clone() };
        // A rollback lasts until a third module has been accepted; the one that it went back to is not a third one.
        let refused_digest = before.refused_digest.clone().filter(|_| !has_new_module);
        let running = campaigns.get(&*self.running.spec.name).and_then(|entry| entry.running.as_ref());
        let is_what_ran = running.is_some_and(|running| running.generation == self.running.generation);
        let kept = KeptCampaign { previous, refused_digest, ..fresh };
        if is_what_ran {
            // A suspension, or a rollback, is of this code with these parameters.
            let KeptCampaign { suspended, swapped_ms, ran_well, refused, rolled_back, .. } = before.clone();
            return KeptCampaign { suspended, swapped_ms, ran_well, refused, rolled_back, ..kept };
        }
        KeptCampaign { swapped_ms: Some(now), ran_well: probation.ran_well(before), ..kept }
    }
}

impl<S: Stage> Owner<S> {
    pub(super) fn judge(&mut self, snapshot: &Snapshot, trigger: Trigger) -> Judged<S::Campaign> {
        let limits = self.limits.clone();
        let mut admission = Admission::new(&limits, self.running_names());
        let mut judged = Judged { verdicts: BTreeMap::new(), problems: snapshot.problems.clone() };
        let top = |ending: &'static str| {
            let names = snapshot.files.keys().filter(|path| !path.contains('/'));
            names.filter_map(move |file| Some((file, file.strip_suffix(ending)?)))
        };
        for (file, name) in top(".toml") {
            if !is_campaign_name(name) {
                judged.problems.push(misnamed(file));
                continue;
            }
            let verdict = self.judge_campaign_file(&mut admission, snapshot, name, file, trigger);
            judged.verdicts.insert(name.to_owned(), (file.clone(), verdict));
        }
        let claims = self.claims(snapshot, &judged);
        for (file, name) in top(".wasm") {
            if !is_campaign_name(name) && !claims.modules.contains(file) {
                judged.problems.push(misnamed(file));
                continue;
            }
            match self.standing_of(name, file, &claims, &judged) {
                Standing::Campaign => {
                    let verdict = self.judge_bare(&mut admission, snapshot, name, file, trigger);
                    judged.verdicts.insert(name.to_owned(), (file.clone(), verdict));
                }
                Standing::RunsOn => {
                    judged.verdicts.insert(name.to_owned(), (file.clone(), Verdict::Same));
                }
                Standing::NoCampaign(problem) => judged.problems.extend(problem),
            }
        }
        self.check_trials(&mut judged);
        judged
    }

    /// Refuses new trials that have nothing to be tried beside: no such campaign, one that is itself on trial, or one that has a canary already.
    fn check_trials(&self, judged: &mut Judged<S::Campaign>) {
        let mut specs: BTreeMap<&str, &CampaignSpec> = BTreeMap::new();
        for (name, (_, verdict)) in &judged.verdicts {
            let running = self.campaigns.get(name).and_then(|entry| entry.running.as_ref());
            let spec = match verdict {
                Verdict::Taken(taken) => Some(&taken.running.spec),
                _ => running.map(|running| &running.spec),
            };
            specs.extend(spec.map(|spec| (&**name, spec)));
        }
        let is_new = |name: &str| matches!(judged.verdicts.get(name), Some((_, Verdict::Taken(_))));
        let canary_of = |of: &str, but: &str| {
            let canaries = specs.iter().filter(|(_, spec)| spec.canary_of().is_some_and(|other| **other == *of));
            // What runs stays; of two new ones the first.
            canaries.map(|(name, _)| *name).find(|name| *name != but && (!is_new(name) || *name < but))
        };
        let mut refused: Vec<(String, String)> = Vec::new();
        for (name, spec) in specs.iter().filter(|(name, _)| is_new(name)) {
            let Some(trial) = &spec.trial else { continue };
            let of = &*trial.of;
            let reason = match specs.get(of) {
                _ if !judged.verdicts.contains_key(of) => {
                    let near = closest(of, judged.verdicts.keys().map(String::as_str).filter(|near| near != name));
                    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    format!("`shadow_of` names `{of}`, and there is no such campaign{near}")
                }
                Some(other) if other.trial.is_some() => format!("`shadow_of` names `{of}`, which is itself on trial"),
                _ => match spec.canary_of().and_then(|of| canary_of(of, name)) {
                    Some(other) => format!("`{of}` has a canary already: `{other}`"),
                    None => continue,
                },
            };
            refused.push(((*name).to_owned(), reason));
        }
        for (name, reason) in refused {
            let Some((file, verdict)) = judged.verdicts.get_mut(&name) else { continue };
            let hint = "name a campaign that runs, or end the other trial with `hailer promote` or `hailer abort`";
            let problems = vec![Problem::new(file.clone(), None, reason, hint)];
            // Not what was refused for ever: the campaign beside it may come.
            *verdict = Verdict::Refused { problems, version: None };
        }
    }

    fn judge_campaign_file(
        &mut self,
        admission: &mut Admission<'_>,
        snapshot: &Snapshot,
        name: &str,
        file: &str,
        trigger: Trigger,
    ) -> Verdict<S::Campaign> {
        let refused = |problems| Verdict::Refused { problems, version: None };
        if let Some(problem) = unsettled(snapshot, file, file) {
            return Verdict::Waiting(problem);
        }
        let (text, text_digest) = match read(snapshot, file, file, "the campaign file") {
            Ok(read) => read,
            Err(problem) => return refused(vec![problem]),
        };
        let campaign_file = match text_of(file, &text).and_then(|text| CampaignFile::parse(file, text)) {
            Ok(campaign_file) => campaign_file,
            Err(mut problems) => {
                problems.extend(problems_of_params(admission, snapshot, file, &text));
                problems.sort_by_key(|problem| problem.line);
                problems.truncate(PROBLEMS_MAX);
                return refused(problems);
            }
        };
        let module_path = campaign_file.module;
        if let Some(problem) = unsettled(snapshot, &module_path, file) {
            return Verdict::Waiting(problem);
        }
        let module = read(snapshot, &module_path, file, &format!("the module {module_path}"));
        let fits = |digest: &str| campaign_file.digest.as_ref().is_none_or(|pinned| digest.starts_with(&**pinned));
        let (module, module_digest) = match module {
            Ok((module, digest)) if fits(&digest) => (module, digest),
            Err(problem) if campaign_file.digest.is_none() => return refused(vec![problem]),
            unfit => {
                let pinned = campaign_file.digest.unwrap_or_default();
                let found = unfit.map_or("is not there or can't be read".into(), |(_, digest)| {
                    format!("has the digest {}…", &digest[..8])
                });
                let reason = format!("waits for a module with the digest {pinned}; {module_path} {found}");
                let hint = format!("copy that module to {module_path}, or correct `digest`; both swap together");
                return Verdict::Waiting(Problem::new(file, None, reason, hint));
            }
        };
        let (application, version) = pair(name, file, Some((text, text_digest)), module_path, (module, module_digest));
        self.judge_version(admission, application, version, trigger)
    }

    fn judge_bare(
        &mut self,
        admission: &mut Admission<'_>,
        snapshot: &Snapshot,
        name: &str,
        file: &str,
        trigger: Trigger,
    ) -> Verdict<S::Campaign> {
        if let Some(problem) = unsettled(snapshot, file, file) {
            return Verdict::Waiting(problem);
        }
        let module = match read(snapshot, file, file, "the module") {
            Ok(read) => read,
            Err(problem) => return Verdict::Refused { problems: vec![problem], version: None },
        };
        let (application, version) = pair(name, file, None, file.into(), module);
        self.judge_version(admission, application, version, trigger)
    }

    fn judge_version(
        &mut self,
        admission: &mut Admission<'_>,
        application: Application,
        version: Version,
        trigger: Trigger,
    ) -> Verdict<S::Campaign> {
        let entry = self.campaigns.get(&application.name);
        if let Some(kept) = entry.and_then(|entry| entry.kept.as_ref()) {
            if kept.keeps_out(&version) {
                return Verdict::KeptOut;
            }
            if kept.version == version && entry.is_some_and(|entry| entry.running.is_some()) {
                return Verdict::Same;
            }
        }
        if let Some(entry) = entry
            && trigger == Trigger::Changed
            && entry.refused.as_ref() == Some(&version)
        {
            return Verdict::Refused { problems: entry.problems.clone(), version: Some(version) };
        }
        let name = application.name.clone();
        match self.admit(admission, application, version.clone(), Some(&name), Proof::Needed) {
            Ok(taken) => Verdict::Taken(Box::new(taken)),
            Err(problems) => Verdict::Refused { problems, version: Some(version) },
        }
    }

    /// Checks an application and has the stage try it. `running_as` names the campaign whose generation goes on if
    /// neither module nor parameters changed.
    pub(super) fn admit(
        &mut self,
        admission: &mut Admission<'_>,
        application: Application,
        version: Version,
        running_as: Option<&str>,
        proof: Proof,
    ) -> Result<Taken<S::Campaign>, Vec<Problem>> {
        let admitted = admission.check(&application)?;
        self.stage.has_room_for(admission.campaigns_with(&application.name)).map_err(|NoRoom { reason, hint }| {
            vec![Problem::new(&application.file, None, format!("no room for one more campaign: {reason}"), hint)]
        })?;
        let running = running_as.and_then(|name| self.campaigns.get(name)?.running.as_ref());
        let is_what_runs = |running: &&Running<_>| {
            running.spec.digest == admitted.spec.digest && running.spec.params == admitted.spec.params
        };
        let generation = running.filter(is_what_runs).map(|running| running.generation);
        let generation = generation.unwrap_or_else(|| self.next_generation());
        let campaign = self.stage.admit(admitted.spec.clone(), &admitted.module, generation, proof);
        let campaign = campaign.map_err(|reason| {
            let hint = "correct the rule and copy it again; `hailer reload` tries this one once more";
            vec![Problem::new(&application.file, None, shown_lines(&reason), hint)]
        })?;
        admission.run(application.name);
        let running = Running { spec: admitted.spec, generation, campaign };
        Ok(Taken { version, running, text: application.text, module: application.module })
    }

    /// Which modules at the top of the directory belong to campaign files.
    fn claims(&self, snapshot: &Snapshot, judged: &Judged<S::Campaign>) -> Claims {
        let mut claims = Claims::default();
        for (name, (file, verdict)) in &judged.verdicts {
            let kept = self.campaigns.get(name).and_then(|entry| entry.kept.as_ref()).map(|kept| &kept.version);
            // What runs is from a campaign file, and not from a bare module that the file is about to take over.
            let kept = kept.filter(|version| version.text_digest.is_some());
            let accepted = match verdict {
                Verdict::Taken(taken) => Some(&taken.version),
                _ => kept,
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

    /// Whether a bare module makes a campaign.
    fn standing_of(&self, name: &str, file: &str, claims: &Claims, judged: &Judged<S::Campaign>) -> Standing {
        let kept = self.campaigns.get(name).and_then(|entry| entry.kept.as_ref());
        let runs_bare = kept.is_some_and(|kept| kept.version.text_digest.is_none());
        let has_own_file = judged.verdicts.contains_key(name);
        if claims.modules.contains(file) {
            // The campaign file takes the module over once it has been accepted, and not before.
            return if runs_bare && !has_own_file && !claims.accepted.contains(file) {
                Standing::RunsOn
            } else {
                Standing::NoCampaign(None)
            };
        }
        let problem = |reason: String, hint: String| Standing::NoCampaign(Some(Problem::new(file, None, reason, hint)));
        if has_own_file {
            let reason = format!("{name}.toml is the campaign `{name}` already, and names another module");
            return problem(reason, "rename the module, or move it to modules/".into());
        }
        if self.bare_modules == BareModules::Refuse {
            let hint = format!("write {name}.toml with `module = \"{file}\"` and `mode = \"live\"`");
            return problem("a module without a campaign file is not run here".into(), hint);
        }
        match &claims.unreadable {
            Some(unreadable) if kept.is_none() => {
                let reason = format!("not started: {unreadable} can't be read, and may name this module");
                problem(reason, format!("correct {unreadable} first"))
            }
            _ => Standing::Campaign,
        }
    }
}

/// What campaign files say of modules.
#[derive(Default)]
struct Claims {
    /// Named by a campaign file, accepted or not.
    modules: BTreeSet<String>,
    /// Named by a campaign file that has been accepted.
    accepted: BTreeSet<String>,
    /// A campaign file that may name any module.
    unreadable: Option<String>,
}

/// What a bare module is.
enum Standing {
    Campaign,
    /// A campaign whose module a campaign file claims that has not been accepted.
    RunsOn,
    NoCampaign(Option<Problem>),
}

fn named_in(snapshot: &Snapshot, file: &str) -> Option<String> {
    match snapshot.files.get(file)? {
        Found::File { bytes, .. } => module_named_in(std::str::from_utf8(bytes).ok()?),
        Found::Missing | Found::Unusable { .. } | Found::Unsettled { .. } => None,
    }
}

/// What is wrong with the parameters of a file that is wrong in other ways, too, as far as its module can be found.
fn problems_of_params(admission: &mut Admission<'_>, snapshot: &Snapshot, file: &str, text: &[u8]) -> Vec<Problem> {
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let module = module_named_in(text).and_then(|path| read(snapshot, &path, file, "the module").ok());
    module.map_or_else(Vec::new, |(module, _)| admission.problems_of_params(file, text, &module))
}

/// Bytes and their digest.
type Read = (Arc<[u8]>, Arc<str>);

/// A campaign's bytes as they apply, and the version that they are. `text` is the campaign file's; a bare module has none.
fn pair(name: &str, file: &str, text: Option<Read>, module_path: String, module: Read) -> (Application, Version) {
    let (text, text_digest) = text.unzip();
    let (module, module_digest) = module;
    let version = Version {
        file: file.into(),
        text_digest: text_digest.map(|digest| digest.to_string()),
        module_path: module_path.clone(),
        module_digest: module_digest.to_string(),
    };
    (Application { name: name.into(), file: file.into(), text, module_path, module }, version)
}

/// One file of the snapshot; `file` is the campaign's, for the problem.
fn read(snapshot: &Snapshot, path: &str, file: &str, what: &str) -> Result<Read, Problem> {
    match snapshot.files.get(path) {
        Some(Found::File { bytes, digest, .. }) => Ok((Arc::clone(bytes), Arc::clone(digest))),
        Some(Found::Unusable { reason, hint }) if path == file => Err(Problem::new(file, None, reason, hint)),
        Some(Found::Unusable { reason, hint }) => Err(Problem::new(file, None, format!("{what}: {reason}"), hint)),
        Some(Found::Missing | Found::Unsettled { .. }) | None => {
            let reason = format!("{what} is not there");
            Err(Problem::new(file, None, reason, format!("copy it to {path} in the rules directory")))
        }
    }
}

fn misnamed(file: &str) -> Problem {
    let reason = format!("`{}` can't name a campaign", shown(file));
    let hint = "rename it: up to 64 of `a-z`, `0-9`, `-` and `_`, a letter or digit first";
    Problem::new(shown(file), None, reason, hint)
}

/// The stage's reason may hold what a guest logged.
fn shown_lines(reason: &str) -> String {
    reason.lines().take(8).map(shown).collect::<Vec<_>>().join("; ")
}
