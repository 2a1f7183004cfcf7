//! A module file as `inspect` and `build` see it: what it says about itself, read without running anything. Whether
//! it is a rule module is decided by the engine's own check, so that a bad one is refused before it is deployed.

use std::path::Path;

use anyhow::{Context, bail};
use hailer_abi::MANIFEST_SECTION;
use hailer_abi::manifest::Manifest;
use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload, TypeRef};

use crate::engine::{self, Limits, VerifiedModule, mark_personal};
use crate::scenarios::{self, Scenarios};

/// A larger file is not looked into.
const MODULE_BYTES_MAX: u64 = 64 << 20;

/// What can be read off a module's file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleFacts {
    pub(super) bytes: usize,
    /// BLAKE3, in hexadecimal.
    pub(super) digest: String,
    pub(super) sections: Sections,
    /// What it imports, `module.name`.
    pub(super) imports: Vec<String>,
    /// The names of the scenarios that it brings along.
    pub(super) scenarios: Vec<String>,
    /// With the engine's own marks on what is personal.
    pub(super) manifest: Manifest,
}

/// What a module's bytes are spent on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sections {
    pub(super) code_bytes: usize,
    /// Texts and tables that the code uses.
    pub(super) data_bytes: usize,
    /// Custom sections by name: the manifest, and what build tools add.
    pub(super) custom: Vec<(String, usize)>,
}

/// Reads a module's file.
pub(super) fn read(path: &Path, limits: &Limits) -> anyhow::Result<ModuleFacts> {
    Ok(open(path, limits)?.0)
}

/// Reads a module's file, and returns what may be run of it as well.
pub(super) fn open(path: &Path, limits: &Limits) -> anyhow::Result<(ModuleFacts, VerifiedModule)> {
    let in_file = || format!("can't read {}", path.display());
    let length = std::fs::metadata(path).with_context(in_file)?.len();
    if length > MODULE_BYTES_MAX {
        bail!(
            "{} is no rule module: it has {length} bytes, and {MODULE_BYTES_MAX} are the most that are read",
            path.display()
        );
    }
    let bytes = std::fs::read(path).with_context(in_file)?;
    let no_rule = || format!("{} is no rule module", path.display());
    let facts = facts(&bytes).with_context(no_rule)?;
    let verified = admit(bytes, limits).with_context(no_rule)?;
    Ok((facts, verified))
}

fn admit(bytes: Vec<u8>, limits: &Limits) -> anyhow::Result<VerifiedModule> {
    engine::verify(bytes.into(), limits).map_err(|error| anyhow::anyhow!("{error}: {}", error.hint()))
}

fn facts(bytes: &[u8]) -> anyhow::Result<ModuleFacts> {
    if !bytes.starts_with(b"\0asm") {
        bail!("it is not WebAssembly: build a rule with `hailer build`");
    }
    let mut imports = Vec::new();
    let mut manifests = Vec::new();
    let mut sections = Sections::default();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.context("it is damaged: build it again")? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                bail!("it is a component, not a core module: build it with `hailer build`");
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.context("its imports are damaged: build it again")?;
                    let kind = if matches!(import.ty, TypeRef::Func(_)) { "" } else { " (not a function)" };
                    imports.push(format!("{}.{}{kind}", import.module, import.name));
                }
            }
            Payload::CodeSectionStart { size, .. } => sections.code_bytes = size as usize,
            Payload::DataSection(section) => sections.data_bytes = section.range().len(),
            Payload::CustomSection(section) => {
                sections.custom.push((section.name().to_owned(), section.data().len()));
                if section.name() == MANIFEST_SECTION {
                    manifests.push(section.data());
                }
            }
            _ => {}
        }
    }
    let [manifest] = manifests[..] else {
        bail!("it has {} sections named {MANIFEST_SECTION}, not one: write the rule with hailer-sdk", manifests.len());
    };
    // One of another ABI may have another shape: the engine's own reading says which SDK it takes.
    let mut manifest = match serde_json::from_slice(manifest) {
        Ok(manifest) => manifest,
        Err(_) => engine::read_manifest(manifest).map_err(|error| anyhow::anyhow!("{error}: {}", error.hint()))?,
    };
    mark_personal(&mut manifest);
    let scenarios = match scenarios::embedded(bytes)? {
        None => Vec::new(),
        Some(text) => match Scenarios::parse("its scenarios", text, &manifest) {
            Ok(scenarios) => scenarios.list.into_iter().map(|scenario| scenario.name).collect(),
            Err(problems) => bail!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        },
    };
    Ok(ModuleFacts {
        bytes: bytes.len(),
        digest: blake3::hash(bytes).to_hex().to_string(),
        sections,
        imports,
        scenarios,
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> anyhow::Result<ModuleFacts> {
        facts(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn a_module_tells_what_it_is_without_being_run() {
        let facts = module(
            r#"(module (import "hailer" "log" (func (param i32 i32 i32 i32))) (import "env" "memory" (memory 1))
            (@custom "hailer.manifest" "{\"abi\":1,\"name\":\"r\",\"version\":\"1.0.0\",\"handlers\":[]}"))"#,
        )
        .unwrap();
        assert_eq!(facts.imports, ["hailer.log", "env.memory (not a function)"]);
        assert_eq!((facts.manifest.abi, facts.manifest.name.as_str()), (1, "r"));
        assert_eq!(facts.digest.len(), 64);
    }

    #[test]
    fn what_the_engine_refuses_is_refused_with_the_engines_hint() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("r.wasm");
        let manifest =
            r#"(@custom "hailer.manifest" "{\"abi\":1,\"name\":\"r\",\"version\":\"1.0.0\",\"handlers\":[]}")"#;
        let text = format!(r#"(module (import "env" "now" (func)) {manifest})"#);
        std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
        let error = format!("{:#}", read(&file, &Limits::default()).unwrap_err());
        assert!(error.contains("imports `env.now`") && error.contains("cargo tree"), "{error}");
    }

    #[test]
    fn what_is_no_rule_module_is_told_apart_in_words() {
        let manifest = r#"(@custom "hailer.manifest" "{}")"#;
        for (text, part) in [
            ("(module)".to_owned(), "0 sections"),
            (format!("(module {manifest} {manifest})"), "2 sections"),
            (format!("(module {manifest})"), "it can't be read"),
            ("(component)".to_owned(), "a component"),
        ] {
            let error = format!("{:#}", module(&text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
        assert!(format!("{:#}", facts(b"hello").unwrap_err()).contains("not WebAssembly"));
        assert!(format!("{:#}", facts(b"\0asm\x01\0\0\0\x02\xff").unwrap_err()).contains("damaged"));
    }
}
