//! The checks that a campaign must pass before the engine may test it: its file, its module, its
//! personal fields, its parameters. They are the same for the rules directory and the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::Problem;
use super::campaign_file::{CampaignFile, Grant, PROBLEMS_MAX, line_of, params_set_in};
use crate::engine::{
    CampaignSpec, Limits, ModuleError, ParamError, Rollout, Trial, VerifiedModule, closest,
    digest_of, encode_params, personal_fields, verify,
};

/// The bytes of a campaign that has not been checked yet.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// Path of the campaign's file, relative to the rules directory.
    pub(super) file: String,
    /// The campaign file's bytes; `None` for a bare module.
    pub(super) text: Option<Arc<[u8]>>,
    pub(super) module_path: String,
    pub(super) module: Arc<[u8]>,
}

/// A campaign that passed every check that does not run it.
#[derive(Clone, Debug)]
pub(super) struct CheckedCandidate {
    pub(super) spec: CampaignSpec,
    pub(super) module: VerifiedModule,
}

/// Checks candidates. Verifies a module once, even if several campaigns share it.
#[derive(Debug)]
pub(super) struct Admission<'limits> {
    limits: &'limits Limits,
    /// Names of the campaigns that run, and of those admitted since.
    running: BTreeSet<String>,
    verified: BTreeMap<Arc<str>, Result<VerifiedModule, ModuleError>>,
}

impl<'limits> Admission<'limits> {
    pub(super) fn new(limits: &'limits Limits, running: BTreeSet<String>) -> Self {
        Admission { limits, running, verified: BTreeMap::new() }
    }

    /// Verifies modules in advance on all cores, because a restart may have thousands of them.
    pub(super) fn verify_ahead(&mut self, modules: &[Arc<[u8]>]) {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let limits = self.limits;
        let each = |module: &Arc<[u8]>| (digest_of(module), verify(Arc::clone(module), limits));
        let of_share = move |share: &[Arc<[u8]>]| share.iter().map(each).collect::<Vec<_>>();
        let verified = &mut self.verified;
        thread::scope(|scope| {
            let shares = modules.chunks(modules.len().div_ceil(threads).max(1));
            let start = |share| {
                (share, thread::Builder::new().spawn_scoped(scope, move || of_share(share)))
            };
            let started: Vec<_> = shares.map(start).collect();
            for (share, thread) in started {
                verified.extend(match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(share)) => share,
                    Ok(Err(panic)) => resume_unwind(panic),
                    // No thread could be started; verify the share here.
                    Err(_) => of_share(share),
                });
            }
        });
    }

    /// The bytes of a module that has passed verification; `None` if it has not.
    pub(super) fn verified(&self, digest: &str) -> Option<Arc<[u8]>> {
        self.verified.get(digest)?.as_ref().ok().map(|module| Arc::clone(&module.bytes))
    }

    /// The number of campaigns that would run with this one added.
    pub(super) fn campaigns_with(&self, name: &str) -> usize {
        self.running.len() + usize::from(!self.running.contains(name))
    }

    /// Counts an admitted campaign among those that run.
    pub(super) fn run(&mut self, name: String) {
        self.running.insert(name);
    }

    /// Checks a candidate.
    ///
    /// # Errors
    /// All problems of the candidate.
    pub(super) fn check(
        &mut self,
        candidate: &Candidate,
    ) -> Result<CheckedCandidate, Vec<Problem>> {
        match &candidate.text {
            None => self.check_bare(candidate),
            Some(bytes) => {
                let file = &candidate.file;
                let text = text_of(file, bytes)?;
                let campaign_file = CampaignFile::parse(file, text)?;
                let module = self.verify(candidate)?;
                let mut problems = personal_problems(file, &campaign_file, &module);
                let params = encode_params(&module.manifest.params, &campaign_file.params);
                if let Err(errors) = &params {
                    problems.extend(param_problems(file, text, errors));
                }
                match params {
                    Ok(params) if problems.is_empty() => {
                        let mut spec = CampaignSpec::of(&candidate.name, &module, params);
                        spec.mode = campaign_file.mode;
                        spec.start_ms = campaign_file.start_ms;
                        spec.end_ms = campaign_file.end_ms;
                        spec.time_zone = campaign_file.time_zone;
                        spec.state_ttl_days = campaign_file.state_ttl_days;
                        spec.on_fault = campaign_file.on_fault.unwrap_or(spec.on_fault);
                        spec.on_pause = campaign_file.on_pause;
                        spec.per_hour_max = campaign_file.per_hour_max;
                        let trial = |of: &String| {
                            Trial::new(
                                of,
                                &spec.digest,
                                &spec.params,
                                campaign_file.drift_percent_max,
                            )
                        };
                        spec.trial = campaign_file.shadow_of.as_ref().map(trial);
                        let rollout = |percent| Rollout::new(&spec.name, percent);
                        spec.rollout = campaign_file.rollout_percent.map(rollout);
                        Ok(CheckedCandidate { spec, module })
                    }
                    _ => {
                        problems.sort_by_key(|problem| problem.line);
                        Err(problems)
                    }
                }
            }
        }
    }

    /// Problems with the parameters of a campaign file that already has other problems, so that the
    /// author can correct all of them at once.
    pub(super) fn problems_of_params(
        &mut self,
        file: &str,
        text: &str,
        module: &Arc<[u8]>,
    ) -> Vec<Problem> {
        let (Ok(module), Some(params)) = (self.verify_bytes(module), params_set_in(text)) else {
            return Vec::new();
        };
        let checked = encode_params(&module.manifest.params, &params);
        checked.map_or_else(|errors| param_problems(file, text, &errors), |_| Vec::new())
    }

    /// Checks a bare module, which is live with default parameters and may read no personal field.
    fn check_bare(&mut self, candidate: &Candidate) -> Result<CheckedCandidate, Vec<Problem>> {
        let file = &candidate.file;
        let module = self.verify(candidate)?;
        let campaign_file = format!("{}.toml", candidate.name);
        let personal = personal_fields(&module.manifest);
        if !personal.is_empty() {
            let reason = format!("the rule reads personal fields: {}", listed(&personal));
            let hint = format!(
                "write {campaign_file} with `module = \"{file}\"`, `mode = \"live\"` and \
                 `personal = [{}]`",
                quoted(&personal)
            );
            return Err(vec![Problem::new(file, None, reason, hint)]);
        }
        let params = encode_params(&module.manifest.params, &toml::de::DeTable::new()).map_err(
            |errors| {
                let hint = format!(
                    "write {campaign_file} with `module = \"{file}\"`, `mode = \"live\"` and the \
                     parameters under [params]"
                );
                errors
                    .iter()
                    .map(|error| Problem::new(file, None, &error.reason, &hint))
                    .collect::<Vec<_>>()
            },
        )?;
        Ok(CheckedCandidate { spec: CampaignSpec::of(&candidate.name, &module, params), module })
    }

    fn verify(&mut self, candidate: &Candidate) -> Result<VerifiedModule, Vec<Problem>> {
        self.verify_bytes(&candidate.module).map_err(|error| {
            let reason = if candidate.file == candidate.module_path {
                error.to_string()
            } else {
                format!("{}: {error}", candidate.module_path)
            };
            vec![Problem::new(&candidate.file, None, reason, error.hint())]
        })
    }

    fn verify_bytes(&mut self, module: &Arc<[u8]>) -> Result<VerifiedModule, ModuleError> {
        let plan = self
            .verified
            .entry(digest_of(module))
            .or_insert_with(|| verify(Arc::clone(module), self.limits));
        plan.clone()
    }
}

fn param_problems(file: &str, text: &str, errors: &[ParamError]) -> Vec<Problem> {
    let problem = |error: &ParamError| {
        let line = error.span.as_ref().map(|span| line_of(text, span.start));
        Problem::new(file, line, &error.reason, &error.hint)
    };
    errors.iter().take(PROBLEMS_MAX).map(problem).collect()
}

/// Decodes a campaign file's bytes as UTF-8.
pub(super) fn text_of<'bytes>(
    file: &str,
    bytes: &'bytes [u8],
) -> Result<&'bytes str, Vec<Problem>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() as u32 + 1;
        vec![Problem::new(file, Some(line), "the file is not UTF-8", "save it as UTF-8")]
    })
}

fn personal_problems(
    file: &str,
    campaign_file: &CampaignFile<'_>,
    module: &VerifiedModule,
) -> Vec<Problem> {
    let read = personal_fields(&module.manifest);
    let granted = &campaign_file.personal;
    let mut problems = Vec::new();
    let missing: Vec<&String> =
        read.iter().filter(|name| !granted.iter().any(|grant| grant.name == **name)).collect();
    if !missing.is_empty() {
        let reason = format!(
            "the rule reads personal fields that this campaign is not granted: {}",
            listed(missing)
        );
        let hint = format!("if it may read them, write `personal = [{}]`", quoted(&read));
        problems.push(Problem::new(file, granted.first().map(|grant| grant.line), reason, hint));
    }
    let unread = |grant: &&Grant| !read.contains(&grant.name);
    problems.extend(granted.iter().filter(unread).take(PROBLEMS_MAX).map(|grant| {
        let reason =
            format!("the rule reads no personal field `{}`", crate::engine::shown(&grant.name));
        let hint = match closest(&grant.name, read.iter().map(String::as_str)) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "remove it from `personal`".into(),
        };
        Problem::new(file, Some(grant.line), reason, hint)
    }));
    problems
}

fn listed<'names>(names: impl IntoIterator<Item = &'names String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn quoted<'names>(names: impl IntoIterator<Item = &'names String>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
