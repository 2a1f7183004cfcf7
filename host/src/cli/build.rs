//! `hailer build`: builds rule crates into modules.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use clap::Args;
use hailer_abi::manifest::{Field, Manifest};
use serde::Serialize;
use serde_json::Value;

use super::costs::{Costs, against};
use super::inspect::indent;
use super::module::{self, ModuleFacts};
use super::progress::{Progress, Total};
use super::settings::Global;
use super::toolchain::{self, TARGET};
use super::{DONE, EXIT_CODES, UsageError, function_names, output};
use crate::engine::Limits;
use crate::reload::POLICIES_NAME;
use crate::scenarios::{self, Scenarios};

/// Stack size of a module, in bytes. It is enough for any sensible rule, and small enough to be
/// allocated for each of many instances.
const STACK_BYTES: u32 = 65_536;

/// The build profile of a rule whose workspace has no `profile.guest`: small and fast. It is the
/// same as `profile.guest` in this project.
const PROFILE: &[&str] = &[
    "profile.guest.inherits=\"release\"",
    "profile.guest.opt-level=3",
    "profile.guest.lto=\"fat\"",
    "profile.guest.codegen-units=1",
    "profile.guest.panic=\"abort\"",
    "profile.guest.strip=true",
    "profile.guest.debug=false",
];

/// Build rule crates into modules
///
/// Compiles each crate for the sandbox with the guest profile and writes NAME.wasm to the output
/// directory. The module gets its name only when it is complete, so an engine that watches the
/// directory never reads half of it. Prints for each module the events that it takes, the fields
/// that it reads, and the cost of its calls on the catalogue's sample events. The cost is in fuel,
/// which is the same on every machine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer build\n  hailer build my-rule\n  hailer build my-rule --out rules.d\n  \
        hailer build rules/* --out target/rules.d --json\n\n{EXIT_CODES}",
))]
pub(super) struct Build {
    /// Directories of rule crates
    #[arg(value_name = "DIR", default_value = ".")]
    crates: Vec<PathBuf>,
    /// The directory to write modules to [default: rules.d in the crate's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Do not change Cargo.lock, and do not use the network
    #[arg(long)]
    frozen: bool,
}

/// The result of building one crate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Built {
    file: PathBuf,
    #[serde(flatten)]
    facts: ModuleFacts,
    #[serde(flatten)]
    costs: Costs,
}

impl Build {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let limits = global.limits()?;
        let mut built = Vec::new();
        for directory in &self.crates {
            built.push(
                self.build(directory, &limits)
                    .with_context(|| format!("cannot build {}", directory.display()))?,
            );
        }
        if global.json {
            output::json(&built)?;
        } else {
            output::data(
                &built.iter().map(|built| text(built, &limits)).collect::<Vec<_>>().join("\n"),
            )?;
        }
        Ok(DONE)
    }

    fn build(&self, directory: &Path, limits: &Limits) -> anyhow::Result<Built> {
        let manifest = directory.join("Cargo.toml");
        if !manifest.is_file() {
            bail!(
                "{} is missing: name the directory of a rule crate, or write one with `hailer new`",
                manifest.display()
            );
        }
        let DeployableModule { name, bytes, target, .. } =
            build_module(directory, self.frozen, limits)?;
        let out = self.out.clone().unwrap_or_else(|| target.join("rules.d"));
        let file = install(&bytes, &out, &name)?;
        let (facts, verified) = module::open(&file, limits)?;
        let mut progress = Progress::new(Total::Unknown);
        progress.show(|| format!("measuring what the calls of {name} cost"));
        Ok(Built { file, facts, costs: Costs::of(&verified, limits) })
    }
}

/// A module that is complete, with its scenarios, ready to deploy.
pub(super) struct DeployableModule {
    /// The package's name.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Cargo's target directory.
    target: PathBuf,
}

/// Compiles a crate and embeds its scenarios in the module.
pub(super) fn build_module(
    directory: &Path,
    frozen: bool,
    limits: &Limits,
) -> anyhow::Result<DeployableModule> {
    if package_name(directory).is_some_and(|name| name == POLICIES_NAME) {
        let file = directory.join("Cargo.toml");
        let reason = format!("the name `{POLICIES_NAME}` is reserved for policies.toml");
        return Err(
            UsageError(format!("{reason}: rename the package in {}", file.display())).into()
        );
    }
    let artifact = compile(directory, frozen)?;
    let bytes = artifact.read()?;
    let Artifact { name, file } = artifact;
    let manifest = module::read(&file, limits)?.manifest;
    let text = scenarios_of(directory, &manifest)?;
    // The file is …/target/wasm32-unknown-unknown/guest/name.wasm.
    let target = file
        .ancestors()
        .nth(3)
        .context("cargo did not write the module into a target directory")?
        .to_owned();
    let bytes = match &text {
        Some(text) => scenarios::embed(bytes, text)?,
        None => bytes,
    };
    Ok(DeployableModule { name, bytes, target })
}

/// The text of a rule crate's scenarios; `None` if it has no scenarios.toml. The scenarios are
/// embedded in the module, and the engine that loads the module runs them.
fn scenarios_of(directory: &Path, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let file = directory.join("scenarios.toml");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    match Scenarios::parse(&file.display().to_string(), &text, manifest) {
        Ok(_) => Ok(Some(text)),
        Err(problems) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Err(UsageError(format!("its scenarios are invalid:\n{}", problems.join("\n"))).into())
        }
    }
}

/// Runs cargo, which prints its own messages, and returns the module that it made.
pub(super) fn compile(directory: &Path, frozen: bool) -> anyhow::Result<Artifact> {
    toolchain::check(directory)?;
    let mut cargo = toolchain::cargo(directory);
    cargo.args([
        "rustc",
        "--lib",
        "--profile",
        "guest",
        "--target",
        TARGET,
        "--crate-type",
        "cdylib",
    ]);
    cargo.arg("--message-format=json-render-diagnostics");
    if !has_guest_profile(directory)? {
        cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
    }
    if frozen {
        cargo.arg("--frozen");
    }
    // By default the linker leaves room in each instruction for the largest address or index, which
    // is an eighth of the code. `--compress-relocations` removes that room, and works only on a
    // module without symbols. The names of functions are not symbols, and some of them are kept.
    cargo.args([
        "--",
        "-C",
        "strip=symbols",
        "-C",
        "link-arg=--compress-relocations",
        "-C",
        "link-arg=--keep-section=name",
    ]);
    cargo.args(["-C", &format!("link-arg=-zstack-size={STACK_BYTES}")]);
    let mut running =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let messages = running.stdout.take().context("cannot read the output of cargo")?;
    let mut artifact = None;
    for line in BufReader::new(messages).lines() {
        // Cargo reports the dependencies first and the crate itself last.
        artifact = Artifact::from_message(&line?).or(artifact);
    }
    if !running.wait()?.success() {
        bail!("cargo failed: correct the errors above, then build again");
    }
    artifact
        .context("cargo made no module: check that the crate is a library with a `#[rule]` in it")
}

/// A module as cargo made it.
#[derive(Debug, PartialEq)]
pub(super) struct Artifact {
    /// The package's name.
    pub(super) name: String,
    pub(super) file: PathBuf,
}

impl Artifact {
    /// Reads the module and keeps only the names of functions that help in error messages.
    pub(super) fn read(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = std::fs::read(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        function_names::shorten(&bytes, &self.name)
    }

    fn from_message(line: &str) -> Option<Artifact> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let file = message["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .find(|file| file.ends_with(".wasm"))?;
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
        Some(Artifact { name: package_name(directory)?, file: file.into() })
    }
}

fn package_name(directory: &Path) -> Option<String> {
    let manifest: toml::Table =
        std::fs::read_to_string(directory.join("Cargo.toml")).ok()?.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}

/// Whether the crate's workspace defines `profile.guest`.
fn has_guest_profile(directory: &Path) -> anyhow::Result<bool> {
    let mut cargo = toolchain::cargo(directory);
    let root = toolchain::text_of(cargo.args([
        "locate-project",
        "--workspace",
        "--message-format=plain",
    ]))?;
    let root = std::fs::read_to_string(root.trim())
        .with_context(|| format!("cannot read {}", root.trim()))?;
    let root: toml::Table = root.parse()?;
    Ok(root.get("profile").and_then(|profiles| profiles.get("guest")).is_some())
}

/// Writes a module under a temporary name and renames it, so that no reader sees half of it.
pub(super) fn install(module: &[u8], out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let placed = out.join(format!("{name}.wasm"));
    let failed = || format!("cannot write {}", placed.display());
    let mut temporary = tempfile::Builder::new()
        .prefix(".")
        .suffix(".partial")
        .tempfile_in(out)
        .with_context(failed)?;
    temporary.write_all(module).with_context(failed)?;
    // A temporary file is readable by its owner only. A module must be readable by every user who
    // may read the directory.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(readable).with_context(failed)?;
    temporary.as_file().sync_all().with_context(failed)?;
    temporary.persist(&placed).with_context(failed)?;
    Ok(placed)
}

fn text(Built { file, facts, costs }: &Built, limits: &Limits) -> String {
    let digest = facts.digest.get(..8).unwrap_or_default();
    let size = against(facts.bytes, limits.module_bytes_max);
    let mut text = format!("{}\n  {size}, digest {digest}\n", file.display());
    for handler in facts.manifest.handlers.iter().filter(|handler| !handler.events.is_empty()) {
        let fields = if handler.fields.is_empty() {
            "no fields".to_owned()
        } else {
            field_names(&handler.fields)
        };
        text += &format!("  reads of {}: {fields}\n", handler.events.join(", "));
    }
    text + &indent(&costs.text(limits))
}

/// The names of the fields. Personal fields are marked, because a campaign must grant them.
fn field_names(fields: &[Field]) -> String {
    let mut names = Vec::new();
    for field in fields {
        let inner =
            field.of.iter().map(|inner| (format!("{}.{}", field.name, inner.name), inner.personal));
        let own = field.of.is_empty().then(|| (field.name.clone(), field.personal));
        names.extend(own.into_iter().chain(inner));
    }
    let marked =
        |(name, is_personal): (String, bool)| if is_personal { name + " (personal)" } else { name };
    names.into_iter().map(marked).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_replaced_in_one_step_and_leaves_nothing_else_behind() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("new/rules.d");
        for text in ["first", "second"] {
            let placed = install(text.as_bytes(), &out, "my-rule").unwrap();
            assert_eq!(placed, out.join("my-rule.wasm"));
            assert_eq!(std::fs::read_to_string(placed).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn the_artifact_is_named_after_its_package() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("Cargo.toml");
        std::fs::write(&manifest, "[package]\nname = \"my-rule\"\n").unwrap();
        let message = serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": manifest,
            "filenames": ["/t/my_rule.d", "/t/my_rule.wasm"],
        });
        let expected = Artifact { name: "my-rule".into(), file: "/t/my_rule.wasm".into() };
        assert_eq!(Artifact::from_message(&message.to_string()), Some(expected));
        assert_eq!(Artifact::from_message("not json"), None);
    }
}
