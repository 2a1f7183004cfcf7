//! What building a rule needs: cargo, and the standard library for the sandbox's target.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::daemon::Finding;

/// What rules are compiled to.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// The project's own toolchain file: the one place that knows the release.
const TOOLCHAIN_FILE: &str = include_str!("../../../rust-toolchain.toml");

/// Why rules can't be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolchainError {
    #[error("can't run the Rust toolchain ({reason}): install it with `{}`", install_command())]
    NotRunning { reason: String },
    #[error("the toolchain {name} lacks the target {TARGET}: rustup target add --toolchain {name} {TARGET}")]
    NoTarget { name: String },
    #[error(
        "the Rust in {sysroot} lacks the target {TARGET}: install its standard library there, or use rustup's (https://rustup.rs)"
    )]
    NoTargetInForeign { sysroot: String },
}

/// The release that this engine and its SDK are built and tested with, as the project's own toolchain file says.
fn channel() -> String {
    let file: toml::Table = TOOLCHAIN_FILE.parse().unwrap_or_default();
    let channel = file.get("toolchain").and_then(|toolchain| toolchain.get("channel")).and_then(toml::Value::as_str);
    channel.unwrap_or("stable").to_owned()
}

/// What pins a rule crate to that release: wherever it is built, rustup brings the release and the target along.
pub(super) fn file() -> String {
    format!("[toolchain]\nchannel = \"{}\"\nprofile = \"minimal\"\ntargets = [\"{TARGET}\"]\n", channel())
}

/// Cargo, as whoever calls us wants it. **Everything that builds one crate runs in the crate's directory**: rustup
/// chooses the toolchain by the working directory, and two directories may have two.
pub(super) fn cargo(directory: &Path) -> Command {
    tool("CARGO", "cargo", directory)
}

fn tool(variable: &str, name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os(variable).unwrap_or_else(|| name.into()));
    command.current_dir(directory);
    // What is relative is meant from where the user stands, not from the crate.
    if let Some(Ok(target)) = std::env::var_os("CARGO_TARGET_DIR").map(std::path::absolute) {
        command.env("CARGO_TARGET_DIR", target);
    }
    command
}

/// Whether rules can be built in a directory.
pub(super) fn check(directory: &Path) -> Result<String, ToolchainError> {
    let not_running = |error: anyhow::Error| ToolchainError::NotRunning { reason: format!("{error:#}") };
    let version = text_of(cargo(directory).arg("--version")).map_err(not_running)?;
    let mut rustc = tool("RUSTC", "rustc", directory);
    let sysroot = text_of(rustc.args(["--print", "sysroot"])).map_err(not_running)?;
    check_target(Path::new(sysroot.trim()))?;
    Ok(format!("{} with {TARGET}", version.trim()))
}

fn check_target(sysroot: &Path) -> Result<(), ToolchainError> {
    if sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    // Rustup keeps each toolchain in `toolchains`, under its name.
    let is_rustups = sysroot.parent().is_some_and(|parent| parent.ends_with("toolchains"));
    Err(match sysroot.file_name().filter(|_| is_rustups) {
        Some(name) => ToolchainError::NoTarget { name: name.to_string_lossy().into_owned() },
        None => ToolchainError::NoTargetInForeign { sysroot: sysroot.display().to_string() },
    })
}

fn install_command() -> String {
    format!("rustup toolchain install {} --profile minimal --target {TARGET}", channel())
}

pub(super) fn finding() -> Finding {
    match check(Path::new(".")) {
        Ok(version) => Finding::well("toolchain", version),
        // A host that runs the engine needs no Rust.
        Err(error @ ToolchainError::NotRunning { .. }) => {
            Finding::well("toolchain", format!("none, and only needed to build rules ({error})"))
        }
        Err(error) => {
            let next_step = "only needed to build rules; a crate of `hailer new` names its own toolchain";
            Finding::problem("toolchain", error.to_string(), next_step)
        }
    }
}

/// What a command prints.
pub(super) fn text_of(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't start `{name}`"))?;
    if !output.status.success() {
        anyhow::bail!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_is_asked_for_in_the_toolchain_that_lacks_it() {
        let home = tempfile::tempdir().unwrap();
        let sysroot = home.path().join("toolchains/1.90.0-x86_64-unknown-linux-gnu");
        let error = check_target(&sysroot).unwrap_err().to_string();
        let command = "rustup target add --toolchain 1.90.0-x86_64-unknown-linux-gnu wasm32-unknown-unknown";
        assert!(error.ends_with(command), "{error}");
        let error = check_target(Path::new("/usr")).unwrap_err().to_string();
        assert!(error.contains("the Rust in /usr") && !error.contains("rustup target"), "{error}");
        std::fs::create_dir_all(sysroot.join("lib/rustlib").join(TARGET)).unwrap();
        check_target(&sysroot).unwrap();
    }

    #[test]
    fn a_crate_is_pinned_to_the_release_that_the_project_is() {
        let pinned: toml::Table = file().parse().unwrap();
        let own: toml::Table = TOOLCHAIN_FILE.parse().unwrap();
        assert_eq!(pinned["toolchain"]["channel"], own["toolchain"]["channel"]);
        assert_eq!(pinned["toolchain"]["targets"][0].as_str(), Some(TARGET));
    }

    #[test]
    fn every_tool_runs_in_the_directory_of_the_crate() {
        let directory = tempfile::tempdir().unwrap();
        for command in [cargo(directory.path()), tool("RUSTC", "rustc", directory.path())] {
            assert_eq!(command.get_current_dir(), Some(directory.path()));
        }
    }
}
