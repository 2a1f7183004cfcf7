//! The SDK's sources, from this very binary, laid out beside a new crate: no registry has to know it, and it always fits the engine.

use std::path::Path;

use anyhow::Context;

use super::write;

/// The SDK's sources, and the workspace's own manifest and lock: path and text.
static SDK_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// Where the SDK is unpacked, below the new crate.
pub(super) const SDK_DIRECTORY: &str = ".hailer-sdk";

pub(super) fn unpack(directory: &Path) -> anyhow::Result<()> {
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
