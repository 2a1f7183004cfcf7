//! The campaign files of a trial, as they lie in the rules' directory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use toml_edit::DocumentMut;

use super::super::engine;
use super::super::settings::{Global, SettingFlags};
use crate::config::Purpose;
use crate::control::{Client, ControlError};
use crate::engine::closest;

/// What belongs to a trial, and goes with its end.
const TRIAL_KEYS: [&str; 3] = ["shadow_of", "rollout_percent", "drift_percent_max"];

/// A campaign, and the version of it that is on trial.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) campaign: String,
    pub(super) candidate: String,
    /// The candidate's file.
    text: DocumentMut,
    directory: PathBuf,
}

/// Where the rules are, and the engine that runs them, if one does.
pub(super) struct Site {
    pub(super) rules: PathBuf,
    pub(super) engine: Option<Client>,
}

/// Asks the engine where its rules are; without one it is the configuration that says.
pub(super) fn site(global: &Global, rules: Option<String>) -> anyhow::Result<Site> {
    let config = global.load(Purpose::Ask, &SettingFlags::of_rules(rules.clone(), None))?.config;
    let client = Client::new(&config.data);
    match engine::wait(client.status())? {
        Ok(status) if rules.is_none() => Ok(Site { rules: status.rules.into(), engine: Some(client) }),
        Ok(_) => Ok(Site { rules: config.rules, engine: Some(client) }),
        Err(ControlError::NoEngine { .. }) => Ok(Site { rules: config.rules, engine: None }),
        Err(error) => Err(error.into()),
    }
}

impl Trial {
    /// Finds a trial by either of its names.
    pub(super) fn find(directory: &Path, name: &str) -> anyhow::Result<Trial> {
        let mut trials = Vec::new();
        let entries =
            fs::read_dir(directory).with_context(|| format!("the rules directory {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(candidate) = path.file_name().and_then(|file| file.to_str()?.strip_suffix(".toml")) else {
                continue;
            };
            if candidate.starts_with('.') {
                continue;
            }
            // What can't be read is told by whoever loads it.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let Ok(text) = text.parse::<DocumentMut>() else { continue };
            let of = text.get("shadow_of").and_then(|value| value.as_str()).map(str::to_owned);
            if let Some(campaign) = of {
                let directory = directory.to_owned();
                trials.push(Trial { campaign, candidate: candidate.to_owned(), text, directory });
            }
        }
        trials.sort_by(|one, other| one.candidate.cmp(&other.candidate));
        if let Some(at) = trials.iter().position(|trial| trial.candidate == name) {
            return Ok(trials.swap_remove(at));
        }
        let of: Vec<&Trial> = trials.iter().filter(|trial| trial.campaign == name).collect();
        match &of[..] {
            [_] => {}
            [] => {
                let names = trials.iter().flat_map(|trial| [&*trial.candidate, &*trial.campaign]);
                let next = match closest(name, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "a campaign is on trial if its file says `shadow_of`".to_owned(),
                };
                bail!("nothing in {} is on trial under the name `{name}`; {next}", directory.display());
            }
            several => {
                let names: Vec<&str> = several.iter().map(|trial| &*trial.candidate).collect();
                bail!("`{name}` has several versions on trial; name one of them: {}", names.join(", "));
            }
        }
        let at = trials.iter().position(|trial| trial.campaign == name).unwrap_or_default();
        Ok(trials.swap_remove(at))
    }

    /// For so many of the customers it decides, if it is a canary.
    pub(super) fn rollout_percent(&self) -> Option<i64> {
        self.text.get("rollout_percent").and_then(toml_edit::Item::as_integer)
    }

    /// Makes the candidate's file the campaign's. What the campaign's file said is kept beside it under another ending.
    pub(super) fn promote(&self) -> anyhow::Result<()> {
        let file = self.directory.join(format!("{}.toml", self.campaign));
        if !file.exists() {
            bail!(
                "`{}` has no file {}, so that there is nothing to put the new version in; write one with its `module` first",
                self.campaign,
                file.display()
            );
        }
        let mut text = self.text.clone();
        TRIAL_KEYS.iter().for_each(|key| drop(text.remove(key)));
        text["mode"] = toml_edit::value("live");
        let kept = self.directory.join(format!("{}.toml.previous", self.campaign));
        fs::copy(&file, &kept).with_context(|| format!("keeping the file as {}", kept.display()))?;
        write_whole(&self.directory, &file, &text.to_string())?;
        // From now on both are the new version, one of them on trial beside the other: no harm if it stays so.
        self.remove()
    }

    /// Ends the trial: the candidate's file is kept under another ending.
    pub(super) fn abort(&self) -> anyhow::Result<PathBuf> {
        let (from, to) = (self.file(), self.directory.join(format!("{}.toml.aborted", self.candidate)));
        fs::rename(&from, &to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))?;
        Ok(to)
    }

    fn remove(&self) -> anyhow::Result<()> {
        let file = self.file();
        fs::remove_file(&file).with_context(|| {
            format!("the new version is in place, and {} could not be removed: remove it", file.display())
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.toml", self.candidate))
    }
}

/// Writes a file that is there whole, or as it was before.
fn write_whole(directory: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut unfinished = tempfile::Builder::new().prefix(".promoting-").tempfile_in(directory)?;
        unfinished.write_all(text.as_bytes())?;
        // As readable as the one in whose place it comes.
        unfinished.as_file().set_permissions(fs::metadata(file)?.permissions())?;
        unfinished.as_file().sync_all()?;
        unfinished.persist(file)?;
        fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    const CANDIDATE: &str = "# cheaper\nmodule = \"modules/b.wasm\"\nmode = \"live\"\nshadow_of = \"vip\"\nrollout_percent = 5\n\n[params]\nmin = 8 # was 10\n";

    #[test]
    fn a_promotion_leaves_one_file_without_a_trace_of_the_trial_and_with_every_comment() {
        let directory =
            directory(&[("vip.toml", "module = \"modules/a.wasm\"\nmode = \"live\"\n"), ("vip-2.toml", CANDIDATE)]);
        Trial::find(directory.path(), "vip").unwrap().promote().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            read("vip.toml"),
            "# cheaper\nmodule = \"modules/b.wasm\"\nmode = \"live\"\n\n[params]\nmin = 8 # was 10\n"
        );
        assert_eq!(read("vip.toml.previous"), "module = \"modules/a.wasm\"\nmode = \"live\"\n");
        assert!(!directory.path().join("vip-2.toml").exists());
    }

    #[test]
    fn an_aborted_trial_is_kept_under_a_name_that_is_not_read() {
        let directory = directory(&[("vip-2.toml", CANDIDATE)]);
        let kept = Trial::find(directory.path(), "vip-2").unwrap().abort().unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), CANDIDATE);
        assert!(!directory.path().join("vip-2.toml").exists());
    }

    #[test]
    fn who_names_no_trial_or_one_of_several_is_told_what_there_is() {
        let directory = directory(&[("vip-2.toml", CANDIDATE), ("vip-3.toml", CANDIDATE), ("broken.toml", "=")]);
        let said = |name: &str| Trial::find(directory.path(), name).unwrap_err().to_string();
        assert!(said("vip").contains("name one of them: vip-2, vip-3"));
        assert!(said("vip-22").contains("did you mean `vip-2`?"), "{}", said("vip-22"));
        assert!(
            Trial::find(directory.path(), "vip-3").unwrap().promote().unwrap_err().to_string().contains("has no file")
        );
    }
}
