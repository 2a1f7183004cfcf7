//! What has to be built before an engine can be started: its binary, and the example campaigns. Each is built once in a
//! test process, by the first test that asks, into the target directory that the tests themselves came from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::process::{BUILD_MAX, output_within};

/// A rule of the tests' own, built like an example.
const FIXTURE: &str = "tests/fixtures/tally";

/// The root of the checkout.
#[must_use]
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the checkout")
}

/// Where cargo builds: the directory above `debug/deps/all-…`, whatever the environment or a flag said.
///
/// # Panics
/// As all below, if what is asked for can't be built.
#[must_use]
pub fn target() -> PathBuf {
    profile_directory().parent().expect("a profile's directory lies in the target directory").to_owned()
}

/// The engine's binary; that which `BENCH_HAILER` names, if there is one: a benchmark's has been built with it, and takes minutes.
#[must_use]
pub fn hailer() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(built) = std::env::var_os("BENCH_HAILER") {
            return built.into();
        }
        let directory = profile_directory();
        let profile = directory.file_name().and_then(|name| name.to_str()).expect("a profile's name");
        let profile = if profile == "debug" { "dev" } else { profile };
        let mut cargo = cargo();
        // The whole workspace, with a test: cargo then gives dependencies the features that they have in the tests, and builds them only once.
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--test", "all", "--profile", profile]);
        succeed(cargo.current_dir(checkout()));
        directory.join("hailer")
    });
    &BINARY
}

/// A rules directory with the example campaigns. Shared: copy it. A benchmark beside an earlier build takes that one's rules: an engine need not run
/// those of a later one.
#[must_use]
pub fn example_rules() -> &'static Path {
    static RULES: LazyLock<PathBuf> = LazyLock::new(|| {
        let out = target().join("e2e-rules.d");
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir_all(out.join("modules")).expect("a directory for the example rules");
        let source = std::env::var_os("BENCH_BESIDE_CHECKOUT").map_or_else(|| checkout().to_owned(), PathBuf::from);
        let crates = std::fs::read_dir(source.join("rules")).expect("the example rules");
        let crates: Vec<PathBuf> =
            crates.map(|entry| entry.expect("a rule").path()).filter(|directory| is_crate(directory)).collect();
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
            std::fs::copy(directory.join("campaign.toml"), file).expect("every example has a campaign file");
        }
        out
    });
    &RULES
}

/// The module of an example rule, or of the tests' own, `tally`.
#[must_use]
pub fn example_module(name: &str) -> Vec<u8> {
    let path = example_rules().join("modules").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cargo, building where the tests were built.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("CARGO_TARGET_DIR", target());
    cargo
}

/// Keeps the environment's settings from a command: what a caller sets for the tests themselves is none of the engine's.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HAILER_")) {
        command.env_remove(name);
    }
}

fn profile_directory() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this binary");
    this.ancestors().nth(2).expect("this binary lies in PROFILE/deps").to_owned()
}

fn is_crate(directory: &Path) -> bool {
    directory.join("Cargo.toml").is_file()
}

fn succeed(command: &mut Command) {
    let output = output_within(command, BUILD_MAX);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
