//! `hailer new`: a rule crate that builds, with a test that passes. The SDK comes along in `.hailer-sdk`, from this very
//! binary: no registry has to know it, and it always fits the engine.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{DONE, EXIT_CODES, UsageError, output, toolchain};

/// The SDK's sources, and the workspace's own manifest and lock: path and text.
static SDK_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

const MANIFEST: &str = include_str!("template/Cargo.toml.txt");
const RULE: &str = include_str!("template/lib.rs.txt");
const README: &str = include_str!("template/README.md.txt");

/// Where the SDK is unpacked, below the new crate.
const SDK_DIRECTORY: &str = ".hailer-sdk";

/// Write a new rule crate, with a test, ready to build
///
/// Makes a directory with a small rule, a unit test and a README. The SDK's sources are unpacked beside it (.hailer-sdk), so
/// nothing but crates.io is needed to build; --sdk uses a checkout in its place.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer new my-rule && cd my-rule && cargo test\n  hailer new my-rule --path ~/rules\n  \
     hailer new my-rule --sdk ../hailer/guest-sdk\n\n{EXIT_CODES}",
))]
pub(super) struct New {
    /// The rule's name: lower-case letters, digits, - and _
    name: String,
    /// The directory to make it in
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// An SDK's source directory to use in place of the one in this binary
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        check_name(&self.name)?;
        let directory = if self.path == Path::new(".") { self.name.clone().into() } else { self.path.join(&self.name) };
        if directory.exists() {
            bail!("{} is there already: choose another name, or --path", directory.display());
        }
        let sdk = match &self.sdk {
            Some(sdk) => sdk.canonicalize().with_context(|| format!("can't find the SDK at {}", sdk.display()))?,
            None => Path::new(SDK_DIRECTORY).join("guest-sdk"),
        };
        let fill = |template: &str| {
            template
                .replace("{{name}}", &self.name)
                .replace("{{struct}}", &type_name(&self.name))
                .replace("{{sdk}}", &sdk.display().to_string())
                .replace("{{sdk_directory}}", SDK_DIRECTORY)
        };
        write(&directory.join("Cargo.toml"), &fill(MANIFEST))?;
        write(&directory.join("src/lib.rs"), &fill(RULE))?;
        write(&directory.join("README.md"), &fill(README))?;
        write(&directory.join("rust-toolchain.toml"), &toolchain::file())?;
        write(&directory.join(".gitignore"), "/target/\n")?;
        if self.sdk.is_none() {
            unpack(&directory)?;
        }
        output::data(&directory.display().to_string())?;
        output::say(&format!(
            "next: cargo test --manifest-path {0}/Cargo.toml, then hailer build {0}",
            directory.display()
        ));
        Ok(DONE)
    }
}

fn check_name(name: &str) -> Result<(), UsageError> {
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let plain =
        name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter));
    if starts_well && plain && name.len() <= 64 {
        return Ok(());
    }
    let reason = format!("`{name}` is no name for a rule: use up to 64 of a-z, 0-9, - and _, a letter first");
    Err(UsageError(reason))
}

/// `my-rule` → `MyRule`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    name.split(['-', '_']).map(capital).collect()
}

fn unpack(directory: &Path) -> anyhow::Result<()> {
    for (name, text) in SDK_FILES {
        match *name {
            // The versions that the SDK is tested with. Cargo takes out what the crate does not use.
            "Cargo.lock" => write(&directory.join("Cargo.lock"), text)?,
            "Cargo.toml" => write(&directory.join(SDK_DIRECTORY).join(name), &sdk_workspace(text)?)?,
            _ => write(&directory.join(SDK_DIRECTORY).join(name), text)?,
        }
    }
    Ok(())
}

/// The workspace that the SDK's crates inherit from, without the members that don't come along.
fn sdk_workspace(manifest: &str) -> anyhow::Result<String> {
    let mut manifest: toml::Table = manifest.parse()?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut).context("no workspace")?;
    let members = ["guest-sdk", "guest-sdk/abi", "guest-sdk/macros"].map(toml::Value::from);
    workspace.insert("members".to_owned(), members.to_vec().into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    manifest.retain(|name, _| name == "workspace");
    let text = toml::to_string(&manifest)?;
    Ok(format!(
        "# The SDK as `hailer new` unpacked it. Run `hailer new` of a newer version to get a newer one.\n\n{text}"
    ))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("can't write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(failed)?;
    }
    std::fs::write(path, text).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_types() {
        for (name, expected) in [("my-rule", "MyRule"), ("welcome", "Welcome"), ("a_b-2c", "AB2c")] {
            assert_eq!(type_name(name), expected);
        }
        for name in ["", "My-Rule", "2nd", "-x", "a/b", "правило", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_new_crate_holds_everything_that_it_builds_from() {
        let parent = tempfile::tempdir().unwrap();
        let new = |name: &str| New { name: name.into(), path: parent.path().into(), sdk: None };
        assert_eq!(new("my-rule").run().unwrap(), DONE);
        let directory = parent.path().join("my-rule");
        let manifest: toml::Table = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap().parse().unwrap();
        let sdk = manifest["dependencies"]["hailer-sdk"]["path"].as_str().unwrap();
        for file in
            ["Cargo.toml", "src/lib.rs", "abi/src/lib.rs", "macros/src/lib.rs", "abi/events/OnPurchaseConfirm.json"]
        {
            assert!(directory.join(sdk).join(file).is_file(), "{file}");
        }
        assert!(directory.join("rust-toolchain.toml").is_file());
        let rule = std::fs::read_to_string(directory.join("src/lib.rs")).unwrap();
        assert!(rule.contains("pub struct MyRule") && !rule.contains("{{"), "{rule}");
        assert!(new("my-rule").run().unwrap_err().to_string().contains("there already"));
    }
}
