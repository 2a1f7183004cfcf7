//! `hailer build`: rule crates into modules.

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
use super::settings::Global;
use super::toolchain::{self, TARGET};
use super::{DONE, EXIT_CODES, UsageError, names, output};
use crate::engine::Limits;
use crate::scenarios::{self, Scenarios};

/// A guest's stack: enough for any sensible rule, and small enough to be fresh for each of many instances.
const STACK_BYTES: u32 = 65_536;

/// What a rule is built with when its workspace does not say: small and fast. See `profile.guest` in this project.
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
/// Compiles each crate for the sandbox with the guest profile, and puts NAME.wasm into the output directory, under a
/// temporary name first: a running engine that watches the directory sees a whole module or none. Prints of each what it takes, what it
/// reads of each event, and what its calls cost on the source's samples: in fuel, which is the same on every machine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer build\n  hailer build my-rule\n  hailer build my-rule --out rules.d\n  hailer build rules/* --out target/rules.d --json\n\n{EXIT_CODES}",
))]
pub(super) struct Build {
    /// Directories of rule crates
    #[arg(value_name = "DIR", default_value = ".")]
    crates: Vec<PathBuf>,
    /// Where modules go [default: rules.d in the crate's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Refuse to change Cargo.lock, and stay off the network
    #[arg(long)]
    frozen: bool,
}

/// What came of one crate.
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
            built.push(self.build(directory, &limits).with_context(|| format!("can't build {}", directory.display()))?);
        }
        if global.json {
            output::json(&built)?;
        } else {
            output::data(&built.iter().map(|built| text(built, &limits)).collect::<Vec<_>>().join("\n"))?;
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
        let Whole { name, bytes, target, .. } = whole(directory, self.frozen, limits)?;
        let out = self.out.clone().unwrap_or_else(|| target.join("rules.d"));
        let file = place(&bytes, &out, &name)?;
        let (facts, verified) = module::open(&file, limits)?;
        Ok(Built { file, facts, costs: Costs::of(&verified, limits) })
    }
}

/// A module as it is deployed.
pub(super) struct Whole {
    /// The package's name.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Cargo's directory.
    target: PathBuf,
}

/// Compiles a crate, and puts its scenarios into its module.
pub(super) fn whole(directory: &Path, frozen: bool, limits: &Limits) -> anyhow::Result<Whole> {
    let artifact = compile(directory, frozen)?;
    let bytes = artifact.read()?;
    let Artifact { name, file } = artifact;
    let manifest = module::read(&file, limits)?.manifest;
    let text = scenarios_of(directory, &manifest)?;
    // …/target/wasm32-unknown-unknown/guest/name.wasm
    let target = file.ancestors().nth(3).context("cargo put the module into no target directory")?.to_owned();
    let bytes = match &text {
        Some(text) => scenarios::embed(bytes, text)?,
        None => bytes,
    };
    Ok(Whole { name, bytes, target })
}

/// The text of a rule crate's scenarios, if it has any: they go into the module, and whoever loads it runs them.
fn scenarios_of(directory: &Path, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let file = directory.join("scenarios.toml");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", file.display())),
    };
    match Scenarios::parse(&file.display().to_string(), &text, manifest) {
        Ok(_) => Ok(Some(text)),
        Err(problems) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Err(UsageError(format!("its scenarios can't be meant so:\n{}", problems.join("\n"))).into())
        }
    }
}

/// Runs cargo, which speaks to people itself, and finds out what it made.
pub(super) fn compile(directory: &Path, frozen: bool) -> anyhow::Result<Artifact> {
    toolchain::check(directory)?;
    let mut cargo = toolchain::cargo(directory);
    cargo.args(["rustc", "--lib", "--profile", "guest", "--target", TARGET, "--crate-type", "cdylib"]);
    cargo.arg("--message-format=json-render-diagnostics");
    if !has_guest_profile(directory)? {
        cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
    }
    if frozen {
        cargo.arg("--frozen");
    }
    // The linker leaves room for the widest address and index in each instruction unless it is told that nothing will be moved
    // any more, which takes a module without symbols: it is an eighth of the code. The functions' names are no symbols, and some are kept.
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
    let mut running = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("can't start cargo")?;
    let messages = running.stdout.take().context("cargo's output is not ours to read")?;
    let mut artifact = None;
    for line in BufReader::new(messages).lines() {
        // Cargo names what it depends on first, and the crate itself last.
        artifact = Artifact::of_message(&line?).or(artifact);
    }
    if !running.wait()?.success() {
        bail!("cargo failed: correct what it names above, then build again");
    }
    artifact.context("cargo made no module: is this crate a library with a rule in it?")
}

/// A module as cargo leaves it.
#[derive(Debug, PartialEq)]
pub(super) struct Artifact {
    /// The package's name.
    pub(super) name: String,
    pub(super) file: PathBuf,
}

impl Artifact {
    /// The module, with the names that help.
    pub(super) fn read(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = std::fs::read(&self.file).with_context(|| format!("can't read {}", self.file.display()))?;
        names::shorten(&bytes, &self.name)
    }

    fn of_message(line: &str) -> Option<Artifact> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let file =
            message["filenames"].as_array()?.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
        Some(Artifact { name: package_name(directory)?, file: file.into() })
    }
}

fn package_name(directory: &Path) -> Option<String> {
    let manifest: toml::Table = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?.parse().ok()?;
    Some(manifest.get("package")?.get("name")?.as_str()?.to_owned())
}

/// Whether the crate's workspace says itself what a guest is built with.
fn has_guest_profile(directory: &Path) -> anyhow::Result<bool> {
    let mut cargo = toolchain::cargo(directory);
    let root = toolchain::text_of(cargo.args(["locate-project", "--workspace", "--message-format=plain"]))?;
    let root = std::fs::read_to_string(root.trim()).with_context(|| format!("can't read {}", root.trim()))?;
    let root: toml::Table = root.parse()?;
    Ok(root.get("profile").and_then(|profiles| profiles.get("guest")).is_some())
}

/// Puts a module in its place in one step, so that nobody ever reads half of it.
pub(super) fn place(module: &[u8], out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
    let placed = out.join(format!("{name}.wasm"));
    let failed = || format!("can't write {}", placed.display());
    let mut temporary =
        tempfile::Builder::new().prefix(".").suffix(".partial").tempfile_in(out).with_context(failed)?;
    temporary.write_all(module).with_context(failed)?;
    // A temporary file is for its owner only; a module may be read by whoever may read the directory.
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
        let fields = if handler.fields.is_empty() { "no fields".to_owned() } else { field_names(&handler.fields) };
        text += &format!("  reads of {}: {fields}\n", handler.events.join(", "));
    }
    text + &indent(&costs.text(limits))
}

/// Those that say who somebody is, or may, are marked: a campaign must be granted them.
fn field_names(fields: &[Field]) -> String {
    let mut names = Vec::new();
    for field in fields {
        let inner = field.of.iter().map(|inner| (format!("{}.{}", field.name, inner.name), inner.personal));
        let own = field.of.is_empty().then(|| (field.name.clone(), field.personal));
        names.extend(own.into_iter().chain(inner));
    }
    let marked = |(name, is_personal): (String, bool)| if is_personal { name + " (personal)" } else { name };
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
            let placed = place(text.as_bytes(), &out, "my-rule").unwrap();
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
            "reason": "compiler-artifact", "manifest_path": manifest, "filenames": ["/t/my_rule.d", "/t/my_rule.wasm"],
        });
        let expected = Artifact { name: "my-rule".into(), file: "/t/my_rule.wasm".into() };
        assert_eq!(Artifact::of_message(&message.to_string()), Some(expected));
        assert_eq!(Artifact::of_message("not json"), None);
    }
}
