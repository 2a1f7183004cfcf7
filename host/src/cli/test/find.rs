//! What is to be tested: rule crates with scenarios, files of scenarios, modules that bring their own.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::UsageError;

/// The file beside a rule crate's `Cargo.toml`.
pub(super) const FILE_NAME: &str = "scenarios.toml";
const HELP: &str = "`hailer test --help` shows what scenarios look like";

/// One file of scenarios and what they are about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// The rule crate; or the module's file, if it brings the scenarios itself.
    pub(super) directory: PathBuf,
    /// `None` for those that the module brings.
    pub(super) scenarios: Option<PathBuf>,
    /// `None` if the crate is to be built.
    pub(super) module: Option<PathBuf>,
}

/// Everything that these paths name, in their order.
pub(super) fn suites(paths: &[PathBuf], module: Option<&Path>) -> anyhow::Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for path in paths {
        let found = of_path(path, module)?;
        suites.extend(found.into_iter().filter(|suite| !suites.contains(suite)).collect::<Vec<_>>());
    }
    Ok(suites)
}

fn of_path(path: &Path, module: Option<&Path>) -> anyhow::Result<Vec<Suite>> {
    let kind = std::fs::metadata(path).with_context(|| format!("can't read {}", path.display()))?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        Some("wasm") if kind.is_file() => {
            let module = std::fs::read(path)?;
            let brings = crate::scenarios::embedded(&module).with_context(|| path.display().to_string())?;
            if brings.is_none() {
                let reason = format!(
                    "{} brings no scenarios: write {FILE_NAME} beside its Cargo.toml, and build it again",
                    path.display()
                );
                return Err(UsageError(reason).into());
            }
            Ok(vec![Suite { directory: path.to_owned(), scenarios: None, module: Some(path.to_owned()) }])
        }
        Some("toml") if kind.is_file() => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if module.is_none() && !is_crate(directory) {
                let reason = format!("{} stands beside no rule crate: name the module with --module", path.display());
                return Err(UsageError(reason).into());
            }
            Ok(vec![suite(directory, path, module)])
        }
        _ if kind.is_dir() && is_crate(path) => {
            let scenarios = path.join(FILE_NAME);
            if scenarios.is_file() {
                return Ok(vec![suite(path, &scenarios, module)]);
            }
            Err(UsageError(format!("{} has no {FILE_NAME}: write one; {HELP}", path.display())).into())
        }
        _ if kind.is_dir() => {
            let mut crates: Vec<PathBuf> =
                std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            crates.retain(|directory| is_crate(directory) && directory.join(FILE_NAME).is_file());
            crates.sort();
            if crates.is_empty() {
                let reason = format!("no rule crate with a {FILE_NAME} in {}: {HELP}", path.display());
                return Err(UsageError(reason).into());
            }
            Ok(crates.iter().map(|directory| suite(directory, &directory.join(FILE_NAME), module)).collect())
        }
        _ => {
            Err(UsageError(format!("{} is no rule crate, no file of scenarios and no module: {HELP}", path.display()))
                .into())
        }
    }
}

fn suite(directory: &Path, scenarios: &Path, module: Option<&Path>) -> Suite {
    Suite { directory: directory.to_owned(), scenarios: Some(scenarios.to_owned()), module: module.map(Path::to_owned) }
}

/// A workspace's own file makes no crate.
fn is_crate(directory: &Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    manifest.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_crates_means_those_with_scenarios_and_a_file_means_its_crate() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b", "a", "without"] {
            let directory = root.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("Cargo.toml"), "[package]\nname = \"x\"\n").unwrap();
            if name != "without" {
                std::fs::write(directory.join(FILE_NAME), "").unwrap();
            }
        }
        let names = |path: &Path| -> Result<Vec<String>, String> {
            let suites = suites(&[path.to_owned()], None).map_err(|error| error.to_string())?;
            let name = |suite: &Suite| suite.directory.file_name().unwrap().to_string_lossy().into_owned();
            Ok(suites.iter().map(name).collect())
        };
        assert_eq!(names(root.path()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(&root.path().join("b").join(FILE_NAME)), Ok(vec!["b".to_owned()]));
        assert!(names(&root.path().join("without")).unwrap_err().contains("has no scenarios.toml: write one"));
        std::fs::write(root.path().join("story.toml"), "").unwrap();
        assert!(names(&root.path().join("story.toml")).unwrap_err().contains("--module"));
    }
}
