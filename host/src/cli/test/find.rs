//! Finds what to test: rule crates with scenarios, files of scenarios, and modules with embedded
//! scenarios.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::UsageError;

/// The name of the file of scenarios beside a rule crate's `Cargo.toml`.
pub(super) const FILE_NAME: &str = "scenarios.toml";
const HELP: &str = "`hailer test --help` shows an example";

/// One file of scenarios, and the crate or module that it tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// The directory of the rule crate; or the file of the module, if it embeds the scenarios.
    pub(super) directory: PathBuf,
    /// `None` if the module embeds the scenarios.
    pub(super) scenarios: Option<PathBuf>,
    /// `None` if the crate must be built.
    pub(super) module: Option<PathBuf>,
}

/// All suites that the paths name, in their order, each once.
pub(super) fn suites(paths: &[PathBuf], module: Option<&Path>) -> anyhow::Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for path in paths {
        let found = of_path(path, module)?;
        suites
            .extend(found.into_iter().filter(|suite| !suites.contains(suite)).collect::<Vec<_>>());
    }
    Ok(suites)
}

fn of_path(path: &Path, module: Option<&Path>) -> anyhow::Result<Vec<Suite>> {
    let kind =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        Some("wasm") if kind.is_file() => {
            let module = std::fs::read(path)?;
            let brings =
                crate::scenarios::embedded(&module).with_context(|| path.display().to_string())?;
            if brings.is_none() {
                let reason = format!(
                    "{} has no embedded scenarios: write {FILE_NAME} beside its Cargo.toml, and \
                        build it again",
                    path.display()
                );
                return Err(UsageError(reason).into());
            }
            Ok(vec![Suite {
                directory: path.to_owned(),
                scenarios: None,
                module: Some(path.to_owned()),
            }])
        }
        Some("toml") if kind.is_file() => {
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            if module.is_none() && !is_crate(directory) {
                let reason = format!(
                    "{} is not beside a Cargo.toml of a rule crate: name the module with --module",
                    path.display()
                );
                return Err(UsageError(reason).into());
            }
            Ok(vec![suite(directory, path, module)])
        }
        _ if kind.is_dir() && is_crate(path) => {
            let scenarios = path.join(FILE_NAME);
            if scenarios.is_file() {
                return Ok(vec![suite(path, &scenarios, module)]);
            }
            Err(UsageError(format!("{} has no {FILE_NAME}: write one; {HELP}", path.display()))
                .into())
        }
        _ if kind.is_dir() => {
            let mut crates: Vec<PathBuf> =
                std::fs::read_dir(path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            crates.retain(|directory| is_crate(directory) && directory.join(FILE_NAME).is_file());
            crates.sort();
            if crates.is_empty() {
                let reason =
                    format!("no rule crate with a {FILE_NAME} in {}: {HELP}", path.display());
                return Err(UsageError(reason).into());
            }
            Ok(crates
                .iter()
                .map(|directory| suite(directory, &directory.join(FILE_NAME), module))
                .collect())
        }
        _ => Err(UsageError(format!(
            "{} is not a rule crate, a file of scenarios or a module: {HELP}",
            path.display()
        ))
        .into()),
    }
}

fn suite(directory: &Path, scenarios: &Path, module: Option<&Path>) -> Suite {
    Suite {
        directory: directory.to_owned(),
        scenarios: Some(scenarios.to_owned()),
        module: module.map(Path::to_owned),
    }
}

/// Whether a directory is a crate. The manifest of a workspace without a package is none.
fn is_crate(directory: &Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    manifest.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_its_crates_with_scenarios_and_a_file_names_its_crate() {
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
            let name =
                |suite: &Suite| suite.directory.file_name().unwrap().to_string_lossy().into_owned();
            Ok(suites.iter().map(name).collect())
        };
        assert_eq!(names(root.path()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(&root.path().join("b").join(FILE_NAME)), Ok(vec!["b".to_owned()]));
        assert!(
            names(&root.path().join("without"))
                .unwrap_err()
                .contains("has no scenarios.toml: write one")
        );
        std::fs::write(root.path().join("story.toml"), "").unwrap();
        assert!(names(&root.path().join("story.toml")).unwrap_err().contains("--module"));
    }
}
