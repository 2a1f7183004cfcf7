//! The builds that an engine under test needs: its binary and the example campaigns. A test process
//! builds each once, when the first test asks for it, into the target directory that the test
//! binary itself came from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::process::{BUILD_MAX, output_within};

/// A rule that only the tests use. `hailer build` builds it like an example.
const FIXTURE: &str = "tests/fixtures/tally";

/// The root of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the checkout")
}

/// Cargo's target directory: the directory above `debug/deps/all-…`. It is found from the path of
/// this binary, so it does not depend on the environment or a flag.
///
/// # Panics
/// Like all functions below, if the build fails.
#[must_use]
pub fn target() -> PathBuf {
    profile_directory()
        .parent()
        .expect("the profile's directory is in the target directory")
        .to_owned()
}

/// The engine's binary. `BENCH_HAILER` names another one: a benchmark has built it already, and a
/// build takes minutes.
#[must_use]
pub fn hailer() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(built) = std::env::var_os("BENCH_HAILER") {
            return built.into();
        }
        let directory = profile_directory();
        let profile =
            directory.file_name().and_then(|name| name.to_str()).expect("a profile's name");
        let profile = if profile == "debug" { "dev" } else { profile };
        let mut cargo = cargo();
        // Build the whole workspace together with a test. Dependencies then get the same features
        // as in the tests, and cargo builds them only once.
        cargo.args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--test",
            "all",
            "--profile",
            profile,
        ]);
        succeed(cargo.current_dir(checkout()));
        directory.join("hailer")
    });
    &BINARY
}

/// A rules directory with the example campaigns. All tests share it, so copy it before a change. A
/// benchmark of an earlier build uses the rules of that build, because an engine need not run rules
/// of a later one.
#[must_use]
pub fn example_rules() -> &'static Path {
    static RULES: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = target().join("e2e-rules.d");
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(out.join("modules")).expect("a directory for the example rules");
        let source = std::env::var_os("BENCH_BESIDE_CHECKOUT")
            .map_or_else(|| checkout().to_owned(), PathBuf::from);
        let crates = std::fs::read_dir(source.join("rules")).expect("the example rules");
        let crates: Vec<PathBuf> = crates
            .map(|entry| entry.expect("a rule").path())
            .filter(|directory| is_crate(directory))
            .collect();
        let mut build = Command::new(hailer());
        build
            .arg("build")
            .args(&crates)
            .arg(source.join(FIXTURE))
            .arg("--out")
            .arg(out.join("modules"))
            .env("CARGO_TARGET_DIR", target());
        without_settings(&mut build);
        succeed(&mut build);
        for directory in crates {
            let name = directory.file_name().and_then(|name| name.to_str()).expect("a rule's name");
            let file = out.join(name).with_extension("toml");
            std::fs::copy(directory.join("campaign.toml"), file)
                .expect("every example has a campaign file");
        }
        out
    });
    &RULES
}

/// The module of an example rule, or of `tally`, the rule that only the tests use.
#[must_use]
pub fn example_module(name: &str) -> Vec<u8> {
    let path = example_rules().join("modules").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A cargo command that builds into the target directory of the tests.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo describes the package of this test in the environment. Some build scripts of
    // dependencies read that, and the builds of the tests and of the engine would each undo the
    // other's.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_a_package(name)) {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_TARGET_DIR", target());
    cargo
}

/// Whether cargo sets this variable for the package that it runs.
fn is_of_a_package(name: &OsStr) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "OUT_DIR"];
    let name = name.to_string_lossy();
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the `HAILER_…` variables from a command: settings meant for the tests must not reach the
/// engine.
pub fn without_settings(command: &mut Command) {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HAILER_"))
    {
        command.env_remove(name);
    }
}

fn profile_directory() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this binary");
    this.ancestors().nth(2).expect("this binary is in PROFILE/deps").to_owned()
}

fn is_crate(directory: &Path) -> bool {
    directory.join("Cargo.toml").is_file()
}

fn succeed(command: &mut Command) {
    let output = output_within(command, BUILD_MAX);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
