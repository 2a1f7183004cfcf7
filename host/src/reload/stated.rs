//! Reads a rules directory for commands that need the policies and the campaigns' files, and no
//! module. Nothing is compiled, and no data directory is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use hailer_policies::Policies;

use super::campaign_file::{CampaignFile, is_campaign_name};
use super::directory::{Directory, FileState, Snapshot, SnapshotError};
use super::policies_file::{POLICIES_FILE, contents, problems_of};
use super::{Problem, ReloadError};
use crate::engine::Mode;

/// A rules directory as its files state it.
#[derive(Debug)]
pub struct StatedRules {
    /// `None` if there is no `policies.toml`.
    pub policies: Option<Policies>,
    /// The campaigns, by name. A campaign is listed even if its file or its module is unusable.
    pub campaigns: BTreeMap<String, StatedCampaign>,
    /// Names in the policies to which no campaign belongs.
    pub warnings: Vec<Problem>,
}

/// A campaign as its file states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatedCampaign {
    /// `None` if the file is unusable. A module without a file is live.
    pub mode: Option<Mode>,
    /// The campaign that this one is on trial for; `None` if it is not on trial.
    pub shadow_of: Option<String>,
    pub per_hour_max: Option<u32>,
}

impl StatedRules {
    /// Reads the directory.
    ///
    /// # Errors
    /// The directory cannot be read, or its policies cannot be used.
    pub fn read(rules: &Path, module_bytes_max: usize) -> Result<StatedRules, ReloadError> {
        let path = rules.to_owned();
        let snapshot = match Directory::new(path.clone(), module_bytes_max).snapshot(None) {
            Ok(snapshot) => snapshot,
            Err(SnapshotError::Missing) => return Err(ReloadError::NoDirectory { path }),
            Err(SnapshotError::Unreadable(problem)) => return Err(ReloadError::Directory(problem)),
        };
        let policies = match policies(&snapshot) {
            Ok(policies) => policies,
            Err(problems) => return Err(ReloadError::UnusablePolicies { path, problems }),
        };
        let campaigns = campaigns(&snapshot);
        let names = campaigns.keys().map(String::as_str);
        let warnings = policies.as_ref().map(|policies| policies.warnings(names));
        let warnings = problems_of(POLICIES_FILE, &warnings.unwrap_or_default());
        Ok(StatedRules { policies, campaigns, warnings })
    }
}

/// Reads the policies in a file that a command names.
///
/// # Errors
/// The file cannot be read, or has mistakes.
pub fn read_policies(path: &Path) -> Result<Policies, ReloadError> {
    let unreadable = |error| ReloadError::UnreadablePolicies { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    // One byte more, so that a file over the limit is refused as one.
    let bytes_max = hailer_policies::FILE_BYTES_MAX as u64 + 1;
    file.take(bytes_max).read_to_end(&mut text).map_err(unreadable)?;
    Policies::parse(&text).map_err(|mistakes| {
        let problems = problems_of(&path.display().to_string(), &mistakes);
        ReloadError::PoliciesFile { path: path.to_owned(), problems }
    })
}

fn policies(snapshot: &Snapshot) -> Result<Option<Policies>, Vec<Problem>> {
    let Some(file) = snapshot.files.get(POLICIES_FILE) else { return Ok(None) };
    let (bytes, _) = contents(file).map_err(|problem| vec![problem])?;
    Policies::parse(bytes).map(Some).map_err(|mistakes| problems_of(POLICIES_FILE, &mistakes))
}

fn campaigns(snapshot: &Snapshot) -> BTreeMap<String, StatedCampaign> {
    let top = |ending: &'static str| {
        let files = snapshot.files.iter().filter(|(path, _)| !path.contains('/'));
        files.filter_map(move |(path, file)| Some((path, file, path.strip_suffix(ending)?)))
    };
    let mut campaigns = BTreeMap::new();
    let mut modules = BTreeSet::new();
    for (path, file, name) in top(".toml").filter(|(_, _, name)| is_campaign_name(name)) {
        let text = match file {
            FileState::File { bytes, .. } => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let read = text.and_then(|text| CampaignFile::parse(path, text).ok());
        let stated = read.map_or_else(StatedCampaign::default, |read| {
            modules.insert(read.module.clone());
            let CampaignFile { mode, shadow_of, per_hour_max, .. } = read;
            StatedCampaign { mode: Some(mode), shadow_of, per_hour_max }
        });
        campaigns.insert(name.to_owned(), stated);
    }
    for (path, _, name) in top(".wasm").filter(|(_, _, name)| is_campaign_name(name)) {
        if !modules.contains(path) {
            let bare = StatedCampaign { mode: Some(Mode::Live), ..StatedCampaign::default() };
            campaigns.entry(name.to_owned()).or_insert(bare);
        }
    }
    campaigns
}
