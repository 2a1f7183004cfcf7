//! The campaign files of a trial in the rules directory.

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

/// The keys of a trial in a campaign file, which are removed at its end.
const TRIAL_KEYS: [&str; 3] = ["shadow_of", "rollout_percent", "drift_percent_max"];

/// A campaign, and the version of it that is on trial.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) campaign: String,
    pub(super) candidate: String,
    /// The content of the candidate's file.
    text: DocumentMut,
    directory: PathBuf,
}

/// The rules directory, and the engine that runs its rules; `None` if no engine runs.
pub(super) struct Site {
    pub(super) rules: PathBuf,
    pub(super) engine: Option<Client>,
}

/// Asks the engine for its rules directory. Without an engine, the configuration names it.
pub(super) fn site(global: &Global, rules: Option<String>) -> anyhow::Result<Site> {
    let config = global.load(Purpose::Ask, &SettingFlags::of_rules(rules.clone(), None))?.config;
    let client = Client::new(&config.data);
    match engine::wait(client.status())? {
        Ok(status) if rules.is_none() => {
            Ok(Site { rules: status.rules.into(), engine: Some(client) })
        }
        Ok(_) => Ok(Site { rules: config.rules, engine: Some(client) }),
        Err(ControlError::NoEngine { .. }) => Ok(Site { rules: config.rules, engine: None }),
        Err(error) => Err(error.into()),
    }
}

impl Trial {
    /// Finds a trial by either of its names.
    pub(super) fn find(directory: &Path, name: &str) -> anyhow::Result<Trial> {
        let mut trials = Vec::new();
        let entries = fs::read_dir(directory)
            .with_context(|| format!("cannot read the rules directory {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(candidate) =
                path.file_name().and_then(|file| file.to_str()?.strip_suffix(".toml"))
            else {
                continue;
            };
            if candidate.starts_with('.') {
                continue;
            }
            // A file that cannot be read is reported by the engine that loads it.
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
                    None => "a campaign is on trial if its file has the key `shadow_of`".to_owned(),
                };
                bail!("no campaign named `{name}` is on trial in {}; {next}", directory.display());
            }
            several => {
                let names: Vec<&str> = several.iter().map(|trial| &*trial.candidate).collect();
                bail!(
                    "`{name}` has several versions on trial; name one of them: {}",
                    names.join(", ")
                );
            }
        }
        let at = trials.iter().position(|trial| trial.campaign == name).unwrap_or_default();
        Ok(trials.swap_remove(at))
    }

    /// The percentage of customers for whom the candidate decides; `None` for a shadow.
    pub(super) fn rollout_percent(&self) -> Option<i64> {
        self.text.get("rollout_percent").and_then(toml_edit::Item::as_integer)
    }

    /// Replaces the campaign's file by the candidate's. The old content is kept beside it with
    /// another ending.
    pub(super) fn promote(&self) -> anyhow::Result<()> {
        let file = self.directory.join(format!("{}.toml", self.campaign));
        if !file.exists() {
            bail!(
                "`{}` has no campaign file {}; write one with the key `module` first",
                self.campaign,
                file.display()
            );
        }
        let mut text = self.text.clone();
        TRIAL_KEYS.iter().for_each(|key| drop(text.remove(key)));
        text["mode"] = toml_edit::value("live");
        let kept = self.directory.join(format!("{}.toml.previous", self.campaign));
        fs::copy(&file, &kept)
            .with_context(|| format!("cannot keep the file as {}", kept.display()))?;
        write_whole(&self.directory, &file, &text.to_string())?;
        // If the next step fails, both files are the new version, one of them on trial beside the
        // other. That does no harm.
        self.remove()
    }

    /// Ends the trial. The candidate's file is kept with another ending.
    pub(super) fn abort(&self) -> anyhow::Result<PathBuf> {
        let (from, to) =
            (self.file(), self.directory.join(format!("{}.toml.aborted", self.candidate)));
        fs::rename(&from, &to)
            .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
        Ok(to)
    }

    fn remove(&self) -> anyhow::Result<()> {
        let file = self.file();
        fs::remove_file(&file).with_context(|| {
            format!(
                "the new version is in place, but {} cannot be removed: remove it",
                file.display()
            )
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.toml", self.candidate))
    }
}

/// Replaces a file in one step, so that it is either the new one or the old one.
fn write_whole(directory: &Path, file: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut unfinished =
            tempfile::Builder::new().prefix(".promoting-").tempfile_in(directory)?;
        unfinished.write_all(text.as_bytes())?;
        // The new file has the permissions of the old one.
        unfinished.as_file().set_permissions(fs::metadata(file)?.permissions())?;
        unfinished.as_file().sync_all()?;
        unfinished.persist(file)?;
        fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
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

    const CANDIDATE: &str = "# cheaper\nmodule = \"modules/b.wasm\"\nmode = \"live\"\nshadow_of = \
                             \"vip\"\nrollout_percent = 5\n\n[params]\nmin = 8 # was 10\n";

    #[test]
    fn a_promotion_leaves_one_file_without_trial_keys_and_with_every_comment() {
        let directory = directory(&[
            ("vip.toml", "module = \"modules/a.wasm\"\nmode = \"live\"\n"),
            ("vip-2.toml", CANDIDATE),
        ]);
        Trial::find(directory.path(), "vip").unwrap().promote().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            read("vip.toml"),
            "# cheaper\nmodule = \"modules/b.wasm\"\nmode = \"live\"\n\n[params]\nmin = 8 # was \
             10\n"
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
    fn an_unknown_or_ambiguous_name_is_refused_with_the_names_of_the_trials() {
        let directory = directory(&[
            ("vip-2.toml", CANDIDATE),
            ("vip-3.toml", CANDIDATE),
            ("broken.toml", "="),
        ]);
        let said = |name: &str| Trial::find(directory.path(), name).unwrap_err().to_string();
        assert!(said("vip").contains("name one of them: vip-2, vip-3"));
        assert!(said("vip-22").contains("did you mean `vip-2`?"), "{}", said("vip-22"));
        assert!(
            Trial::find(directory.path(), "vip-3")
                .unwrap()
                .promote()
                .unwrap_err()
                .to_string()
                .contains("has no campaign file")
        );
    }
}
