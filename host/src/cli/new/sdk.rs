//! The SDK's sources, embedded in this binary and unpacked into a new crate. So no registry needs
//! to have the SDK, and it always matches the engine.

use std::path::Path;

use anyhow::Context;

use super::write;

/// The SDK's sources and the manifest and lock file of the workspace: path and text.
static SDK_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// The directory inside the new crate into which the SDK is unpacked.
pub(super) const SDK_DIRECTORY: &str = ".hailer-sdk";

pub(super) fn unpack(directory: &Path) -> anyhow::Result<()> {
    for (name, text) in SDK_FILES {
        match *name {
            // The versions that the SDK is tested with. Cargo removes the packages that the crate
            // does not use.
            "Cargo.lock" => write(&directory.join("Cargo.lock"), text)?,
            "Cargo.toml" => {
                write(&directory.join(SDK_DIRECTORY).join(name), &sdk_workspace(text)?)?
            }
            _ => write(&directory.join(SDK_DIRECTORY).join(name), text)?,
        }
    }
    Ok(())
}

/// The workspace manifest from which the SDK's crates inherit, without the members that are not
/// unpacked.
fn sdk_workspace(manifest: &str) -> anyhow::Result<String> {
    let mut manifest: toml::Table = manifest.parse()?;
    let workspace = manifest
        .get_mut("workspace")
        .and_then(toml::Value::as_table_mut)
        .context("no workspace")?;
    let members = ["guest-sdk", "guest-sdk/abi", "guest-sdk/macros"].map(toml::Value::from);
    workspace.insert("members".to_owned(), members.to_vec().into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    manifest.retain(|name, _| name == "workspace");
    let text = toml::to_string(&manifest)?;
    Ok(format!(
        "# The SDK as `hailer new` unpacked it. A newer version of `hailer new` unpacks a newer \
            SDK.\n\n{text}"
    ))
}
