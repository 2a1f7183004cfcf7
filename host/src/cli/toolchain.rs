//! What building a rule needs: cargo, and the standard library for the sandbox's target.

use std::process::{Command, Stdio};

use anyhow::Context;

use crate::daemon::Finding;

/// What rules are compiled to.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// Cargo, as whoever calls us wants it.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether rules can be built here, in the directory of `manifest` if one is given: a toolchain file there counts.
pub(super) fn check(directory: Option<&std::path::Path>) -> anyhow::Result<String> {
    let in_place = |mut command: Command| {
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        command
    };
    let version = text_of(in_place(cargo()).arg("--version"))
        .context("can't run cargo: install Rust from https://rustup.rs, then try again")?;
    let sysroot = text_of(in_place(Command::new("rustc")).args(["--print", "sysroot"])).context("can't run rustc")?;
    let library = std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if !library.is_dir() {
        anyhow::bail!("the target {TARGET} is not installed: rustup target add {TARGET}");
    }
    Ok(format!("{} with {TARGET}", version.trim()))
}

pub(super) fn finding() -> Finding {
    match check(None) {
        Ok(version) => Finding::well("toolchain", version),
        Err(error) => {
            let next_step = format!("only needed to build rules: rustup target add {TARGET}");
            Finding::problem("toolchain", format!("{error:#}"), next_step)
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
