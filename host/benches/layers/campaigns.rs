//! Campaigns of the modules in a directory, with default parameters or others.

#![allow(dead_code, reason = "not every benchmark uses all functions")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hailer::engine::{Campaign, CampaignSpec, Sandbox, encode_params, verify};
use toml::de::DeTable;

/// The modules of a directory, by name.
pub(crate) fn modules(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    paths
}

pub(crate) fn campaign(name: &str, sandbox: &Arc<Sandbox>, wasm: &[u8]) -> Arc<Campaign> {
    campaign_with(name, sandbox, wasm, "")
}

/// Makes a campaign with parameters in the syntax of a campaign's file.
pub(crate) fn campaign_with(
    name: &str,
    sandbox: &Arc<Sandbox>,
    wasm: &[u8],
    params: &str,
) -> Arc<Campaign> {
    let module = verify(wasm.into(), sandbox.limits()).unwrap();
    let params =
        encode_params(&module.manifest.params, &DeTable::parse(params).unwrap().into_inner())
            .unwrap();
    let spec = CampaignSpec::of(name, &module, params);
    Campaign::admit(sandbox, spec, sandbox.compile_here(wasm).unwrap(), 1).unwrap()
}

/// Makes many campaigns of one module, each with parameters of its own.
pub(crate) fn campaigns_of(
    name: &str,
    sandbox: &Arc<Sandbox>,
    wasm: &[u8],
    count: usize,
    params: impl Fn(usize) -> String,
) -> Vec<Arc<Campaign>> {
    let module = verify(wasm.into(), sandbox.limits()).unwrap();
    let compiled = sandbox.compile_here(wasm).unwrap();
    let one = |number: usize| {
        let params = params(number);
        let params = DeTable::parse(&params).unwrap().into_inner();
        let params = encode_params(&module.manifest.params, &params).unwrap();
        let spec = CampaignSpec::of(&format!("{name}-{number}"), &module, params);
        Campaign::admitted_before(spec, compiled.clone(), 1).unwrap()
    };
    (0..count).map(one).collect()
}
