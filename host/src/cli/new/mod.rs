//! `hailer new`: writes a rule crate that builds, with tests that pass; or a campaign file for a
//! rule that exists.

mod from;
mod sdk;
mod template;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use self::sdk::SDK_DIRECTORY;
use self::template::Template;
use super::settings::Global;
use super::{DONE, EXIT_CODES, UsageError, output, toolchain};
use crate::reload::POLICIES_NAME;

const MANIFEST: &str = include_str!("files/Cargo.toml.txt");
const README: &str = include_str!("files/README.md.txt");

/// Write a new rule crate, with tests, ready to build
///
/// Creates a directory with a small rule, its tests and a README. The SDK's sources are unpacked
/// into it (.hailer-sdk), so a build needs nothing but crates.io; --sdk uses a checkout instead.
/// --template chooses the kind of rule. Without it, the command asks on a terminal, and elsewhere
/// uses the stateless template.
///
/// With --from MODULE no crate is written: NAME becomes a campaign file for a module that exists,
/// with the rule's parameters as comments.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer new my-rule && cd my-rule && cargo test\n  hailer new loyal --template \
        counter --path ~/rules\n  \
     hailer new my-rule --sdk ../hailer/guest-sdk\n  hailer new --from big-basket \
     vip\n\n{EXIT_CODES}",
))]
pub(super) struct New {
    /// The name of the rule (with --from, of the campaign): lower-case letters, digits, - and _
    name: String,
    /// The kind of rule
    #[arg(long, value_enum)]
    template: Option<Template>,
    /// The directory in which to create the crate
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// The directory of an SDK checkout, to use instead of the sources in this binary
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// Write a campaign file for this module, given by its name or its path inside the rules
    /// directory
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["template", "path", "sdk"])]
    from: Option<PathBuf>,
    /// With --from: the rules directory
    #[arg(long, value_name = "DIR", requires = "from", default_value = "rules.d")]
    rules: PathBuf,
}

impl New {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        check_name(&self.name)?;
        match &self.from {
            Some(module) => {
                from::write_campaign(&self.name, module, &self.rules, &global.limits()?)
            }
            None => self.write_crate(),
        }
    }

    fn write_crate(&self) -> anyhow::Result<u8> {
        let directory = if self.path == Path::new(".") {
            self.name.clone().into()
        } else {
            self.path.join(&self.name)
        };
        if directory.exists() {
            bail!("{} already exists: choose another name, or --path", directory.display());
        }
        let sdk = match &self.sdk {
            Some(sdk) => sdk
                .canonicalize()
                .with_context(|| format!("cannot find the SDK at {}", sdk.display()))?,
            None => Path::new(SDK_DIRECTORY).join("guest-sdk"),
        };
        let template = self.template()?;
        let fill = |text: &str| {
            text.replace("{{name}}", &self.name)
                .replace("{{struct}}", &type_name(&self.name))
                .replace("{{sdk}}", &sdk.display().to_string())
                .replace("{{sdk_directory}}", SDK_DIRECTORY)
                .replace("{{description}}", template.description())
                .replace("{{param}}", template.param())
        };
        write(&directory.join("Cargo.toml"), &fill(MANIFEST))?;
        write(&directory.join("src/lib.rs"), &fill(template.rule()))?;
        write(&directory.join("scenarios.toml"), template.scenarios())?;
        write(&directory.join("README.md"), &fill(README))?;
        write(&directory.join("rust-toolchain.toml"), &toolchain::file())?;
        write(&directory.join(".gitignore"), "/target/\n")?;
        if self.sdk.is_none() {
            sdk::unpack(&directory)?;
        }
        output::data(&directory.display().to_string())?;
        output::message(&format!(
            "next: hailer test {0} (its scenarios), then hailer build {0} --out rules.d",
            directory.display()
        ));
        Ok(DONE)
    }

    fn template(&self) -> anyhow::Result<Template> {
        if let Some(template) = self.template {
            return Ok(template);
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Ok(Template::Stateless);
        }
        let asked = Template::ask(std::io::stdin().lock(), std::io::stderr())
            .context("cannot ask for the template")?;
        asked.ok_or_else(|| {
            UsageError("no template was chosen: name one with --template".into()).into()
        })
    }
}

fn check_name(name: &str) -> Result<(), UsageError> {
    if name == POLICIES_NAME {
        let reason = format!("the name `{name}` is reserved for policies.toml: choose another");
        return Err(UsageError(reason));
    }
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let plain = name.chars().all(|letter| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter)
    });
    if starts_well && plain && name.len() <= 64 {
        return Ok(());
    }
    let reason = format!(
        "`{name}` is not a valid name for a rule: use up to 64 of a-z, 0-9, - and _, a letter first"
    );
    Err(UsageError(reason))
}

/// `my-rule` → `MyRule`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split(['-', '_']).map(capital).collect()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(failed)?;
    }
    std::fs::write(path, text).with_context(failed)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn names_become_type_names() {
        for (name, expected) in [("my-rule", "MyRule"), ("welcome", "Welcome"), ("a_b-2c", "AB2c")]
        {
            assert_eq!(type_name(name), expected);
        }
        for name in ["", "policies", "My-Rule", "2nd", "-x", "a/b", "правило", &"x".repeat(65)]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_new_crate_contains_everything_that_it_is_built_from() {
        let parent = tempfile::tempdir().unwrap();
        for template in Template::value_variants() {
            let name = format!("{template:?}").to_lowercase() + "-rule";
            let new = || New {
                name: name.clone(),
                template: Some(*template),
                path: parent.path().into(),
                sdk: None,
                from: None,
                rules: "rules.d".into(),
            };
            assert_eq!(new().run(&Global::default()).unwrap(), DONE);
            let directory = parent.path().join(&name);
            let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
            let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
            assert_eq!(manifest["package"]["description"].as_str(), Some(template.description()));
            let sdk = manifest["dependencies"]["hailer-sdk"]["path"].as_str().unwrap();
            for file in [
                "Cargo.toml",
                "src/lib.rs",
                "abi/src/lib.rs",
                "macros/src/lib.rs",
                "abi/events/OnPurchaseConfirm.json",
            ] {
                assert!(directory.join(sdk).join(file).is_file(), "{file}");
            }
            assert!(directory.join("rust-toolchain.toml").is_file());
            for file in ["Cargo.toml", "src/lib.rs", "README.md"] {
                assert!(!read(file).contains("{{"), "{template:?}: {file}");
            }
            assert!(read("src/lib.rs").contains(&format!("pub struct {}", type_name(&name))));
            assert!(
                new().run(&Global::default()).unwrap_err().to_string().contains("already exists")
            );
        }
    }
}
