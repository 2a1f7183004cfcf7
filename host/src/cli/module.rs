//! A module file as `inspect` and `build` show it: the facts that can be read without running the
//! module. The engine's own check decides whether it is a rule module, so a bad one is refused
//! before it is deployed.

use std::path::Path;

use anyhow::{Context, bail};
use hailer_abi::MANIFEST_SECTION;
use hailer_abi::manifest::Manifest;
use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload, TypeRef};

use crate::engine::{self, Limits, VerifiedModule, mark_personal};
use crate::scenarios::{self, Scenarios};

/// The largest module file that is read, in bytes.
const MODULE_BYTES_MAX: u64 = 64 << 20;

/// The facts that can be read from a module's file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleFacts {
    pub(super) bytes: usize,
    /// The BLAKE3 digest of the file, in hexadecimal.
    pub(super) digest: String,
    pub(super) sections: Sections,
    /// The imports of the module, as `module.name`.
    pub(super) imports: Vec<String>,
    /// The names of the scenarios that are embedded in the module.
    pub(super) scenarios: Vec<String>,
    /// The manifest, in which the engine has marked the personal fields.
    pub(super) manifest: Manifest,
}

/// The sizes of a module's sections, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sections {
    pub(super) code_bytes: usize,
    /// Size of the texts and tables that the code uses.
    pub(super) data_bytes: usize,
    /// Sizes of the custom sections by name: the manifest, and what build tools add.
    pub(super) custom: Vec<(String, usize)>,
}

/// Reads the facts of a module's file.
pub(super) fn read(path: &Path, limits: &Limits) -> anyhow::Result<ModuleFacts> {
    Ok(open(path, limits)?.0)
}

/// Reads the facts of a module's file, and verifies the module so that it can be run.
pub(super) fn open(path: &Path, limits: &Limits) -> anyhow::Result<(ModuleFacts, VerifiedModule)> {
    let in_file = || format!("cannot read {}", path.display());
    let length = std::fs::metadata(path).with_context(in_file)?.len();
    if length > MODULE_BYTES_MAX {
        bail!(
            "{} is not a rule module: it has {length} bytes, and at most {MODULE_BYTES_MAX} are \
                read",
            path.display()
        );
    }
    let bytes = std::fs::read(path).with_context(in_file)?;
    let no_rule = || format!("{} is not a rule module", path.display());
    let facts = facts(&bytes).with_context(no_rule)?;
    let verified = admit(bytes, limits).with_context(no_rule)?;
    Ok((facts, verified))
}

fn admit(bytes: Vec<u8>, limits: &Limits) -> anyhow::Result<VerifiedModule> {
    engine::verify(bytes.into(), limits)
        .map_err(|error| anyhow::anyhow!("{error}: {}", error.hint()))
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
                    let kind = if matches!(import.ty, TypeRef::Func(_)) {
                        ""
                    } else {
                        " (not a function)"
                    };
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
        bail!(
            "it has {} sections named {MANIFEST_SECTION}, not one: write the rule with hailer-sdk",
            manifests.len()
        );
    };
    // The manifest of another ABI may have another structure. The engine's own reading then says
    // which SDK it accepts.
    let mut manifest = match serde_json::from_slice(manifest) {
        Ok(manifest) => manifest,
        Err(_) => engine::read_manifest(manifest)
            .map_err(|error| anyhow::anyhow!("{error}: {}", error.hint()))?,
    };
    mark_personal(&mut manifest);
    let scenarios = match scenarios::embedded(bytes)? {
        None => Vec::new(),
        Some(text) => match Scenarios::parse("its scenarios", text, &manifest) {
            Ok(scenarios) => scenarios.list.into_iter().map(|scenario| scenario.name).collect(),
            Err(problems) => {
                bail!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
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

    const MANIFEST: &str = r#"(@custom "hailer.manifest"
        "{\"abi\":1,\"name\":\"r\",\"version\":\"1.0.0\",\"handlers\":[]}")"#;

    fn module(text: &str) -> anyhow::Result<ModuleFacts> {
        facts(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn the_facts_of_a_module_are_read_without_running_it() {
        let facts = module(&format!(
            r#"(module (import "hailer" "log" (func (param i32 i32 i32 i32)))
                (import "env" "memory" (memory 1)) {MANIFEST})"#
        ))
        .unwrap();
        assert_eq!(facts.imports, ["hailer.log", "env.memory (not a function)"]);
        assert_eq!((facts.manifest.abi, facts.manifest.name.as_str()), (1, "r"));
        assert_eq!(facts.digest.len(), 64);
    }

    #[test]
    fn a_module_that_the_engine_refuses_is_refused_with_the_engines_hint() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("r.wasm");
        let text = format!(r#"(module (import "env" "now" (func)) {MANIFEST})"#);
        std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
        let error = format!("{:#}", read(&file, &Limits::default()).unwrap_err());
        assert!(error.contains("imports `env.now`") && error.contains("cargo tree"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_rule_module_is_refused_with_the_reason() {
        let manifest = r#"(@custom "hailer.manifest" "{}")"#;
        for (text, part) in [
            ("(module)".to_owned(), "0 sections"),
            (format!("(module {manifest} {manifest})"), "2 sections"),
            (format!("(module {manifest})"), "it cannot be read"),
            ("(component)".to_owned(), "a component"),
        ] {
            let error = format!("{:#}", module(&text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
        assert!(format!("{:#}", facts(b"hello").unwrap_err()).contains("not WebAssembly"));
        assert!(
            format!("{:#}", facts(b"\0asm\x01\0\0\0\x02\xff").unwrap_err()).contains("damaged")
        );
    }
}
