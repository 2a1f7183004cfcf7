//! The toolchain that builds rules: cargo, and the standard library of the sandbox's target.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::daemon::Finding;

/// The target that rules are compiled for.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// The project's own toolchain file, the only place that names the release.
const TOOLCHAIN_FILE: &str = include_str!("../../../rust-toolchain.toml");

/// The reason why rules cannot be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolchainError {
    #[error("cannot run the Rust toolchain ({reason}): install it with `{}`", install_command())]
    NotRunning { reason: String },
    #[error(
        "the toolchain {name} lacks the target {TARGET}: run rustup target add --toolchain {name} \
            {TARGET}"
    )]
    NoTarget { name: String },
    #[error(
        "the Rust in {sysroot} lacks the target {TARGET}: install its standard library there, or \
            use rustup's (https://rustup.rs)"
    )]
    NoTargetInForeign { sysroot: String },
}

/// The release with which this engine and its SDK are built and tested, from the project's own
/// toolchain file.
fn channel() -> String {
    let file: toml::Table = TOOLCHAIN_FILE.parse().unwrap_or_default();
    let channel = file
        .get("toolchain")
        .and_then(|toolchain| toolchain.get("channel"))
        .and_then(toml::Value::as_str);
    channel.unwrap_or("stable").to_owned()
}

/// The toolchain file of a new rule crate. It pins the crate to that release: rustup installs the
/// release and the target on every machine.
pub(super) fn file() -> String {
    format!(
        "[toolchain]\nchannel = \"{}\"\nprofile = \"minimal\"\ntargets = [\"{TARGET}\"]\n",
        channel()
    )
}

/// Cargo, as the user's environment names it. **Everything that builds one crate runs in the
/// crate's directory**: rustup chooses the toolchain by the working directory, and two directories
/// may have two toolchains.
pub(super) fn cargo(directory: &Path) -> Command {
    tool("CARGO", "cargo", directory)
}

fn tool(variable: &str, name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os(variable).unwrap_or_else(|| name.into()));
    command.current_dir(directory);
    // A relative path is relative to the user's working directory, not to the crate.
    if let Some(Ok(target)) = std::env::var_os("CARGO_TARGET_DIR").map(std::path::absolute) {
        command.env("CARGO_TARGET_DIR", target);
    }
    command
}

/// Checks whether rules can be built in a directory. Returns the version of the toolchain.
pub(super) fn check(directory: &Path) -> Result<String, ToolchainError> {
    let not_running =
        |error: anyhow::Error| ToolchainError::NotRunning { reason: format!("{error:#}") };
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
        Ok(version) => Finding::ok("toolchain", version),
        // A machine that only runs the engine needs no Rust.
        Err(error @ ToolchainError::NotRunning { .. }) => Finding::ok(
            "toolchain",
            format!("no toolchain; it is only needed to build rules ({error})"),
        ),
        Err(error) => {
            let next_step =
                "it is only needed to build rules; a crate of `hailer new` names its own toolchain";
            Finding::problem("toolchain", error.to_string(), next_step)
        }
    }
}

/// The standard output of a command.
pub(super) fn text_of(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        anyhow::bail!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_toolchain_that_lacks_the_target() {
        let home = tempfile::tempdir().unwrap();
        let sysroot = home.path().join("toolchains/1.90.0-x86_64-unknown-linux-gnu");
        let error = check_target(&sysroot).unwrap_err().to_string();
        let command =
            "rustup target add --toolchain 1.90.0-x86_64-unknown-linux-gnu wasm32-unknown-unknown";
        assert!(error.ends_with(command), "{error}");
        let error = check_target(Path::new("/usr")).unwrap_err().to_string();
        assert!(error.contains("the Rust in /usr") && !error.contains("rustup target"), "{error}");
        std::fs::create_dir_all(sysroot.join("lib/rustlib").join(TARGET)).unwrap();
        check_target(&sysroot).unwrap();
    }

    #[test]
    fn a_new_crate_is_pinned_to_the_release_of_the_project() {
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
