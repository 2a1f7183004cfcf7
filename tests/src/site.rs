//! A place for one engine: its rules, its data, what it prints. Everything lies in one temporary directory, and an
//! engine can be started there again after it has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::built;
use crate::engine::Engine;
use crate::process::{BUILD_MAX, output_within};
use crate::wait::LONG_ENOUGH;
use crate::watchdog::Watch;

/// The directory of one engine; it goes with the value.
#[derive(Debug)]
pub struct Site {
    root: TempDir,
    /// Another build than that of the tests, if there is one.
    program: Option<PathBuf>,
    /// Of everything that is started here.
    environment: Mutex<Vec<(String, String)>>,
    _watch: Watch,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    /// Without a campaign.
    ///
    /// # Panics
    /// As all below, if the file system or the binary is not there to be used.
    #[must_use]
    pub fn empty() -> Site {
        // Short, as the path of a Unix socket has to be.
        let root = tempfile::Builder::new().prefix("hailer-").tempdir().expect("a temporary directory");
        fs::create_dir_all(root.path().join("rules.d/modules")).expect("a directory for rules");
        Site { root, program: None, environment: Mutex::default(), _watch: Watch::new() }
    }

    /// The same for another build of hailer.
    #[must_use]
    pub fn of(self, program: &Path) -> Site {
        Site { program: Some(program.to_owned()), ..self }
    }

    /// With one campaign, `basket`, which answers every purchase.
    #[must_use]
    pub fn with_basket() -> Site {
        let site = Site::empty();
        site.put("modules/big-basket.wasm", built::example_module("big-basket"));
        site.put("basket.toml", campaign("big-basket", "[params]\nthreshold = \"0\""));
        site
    }

    /// With all the example campaigns.
    #[must_use]
    pub fn with_examples() -> Site {
        let site = Site::empty();
        for folder in ["", "modules"] {
            let from = built::example_rules().join(folder);
            for entry in fs::read_dir(&from).expect("the example rules") {
                let entry = entry.expect("an example");
                if entry.path().is_file() {
                    fs::copy(entry.path(), site.rules().join(folder).join(entry.file_name())).expect("a copy");
                }
            }
        }
        site
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    #[must_use]
    pub fn rules(&self) -> PathBuf {
        self.path("rules.d")
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Puts a file into the rules directory, whole or not at all.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let temporary = self.path("being-written");
        fs::write(&temporary, bytes).expect("a file");
        fs::rename(temporary, self.rules().join(name)).expect("a file in the rules directory");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.rules().join(name)).expect("a file to remove from the rules directory");
    }

    /// Puts a file beside the rules, and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// Gives everything that is started here from now on these variables, and no others of ours.
    pub fn environment(&self, variables: &[(&str, &str)]) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        *self.environment.lock().unwrap_or_else(PoisonError::into_inner) = variables;
    }

    /// Starts an engine here, with an HTTP port of its own, and returns at once.
    #[must_use]
    pub fn start(&self, arguments: &[impl AsRef<str>]) -> Engine {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let mut command = self.run_command(arguments);
        command.stdin(Stdio::piped()).stdout(File::create(&stdout).expect("a file for standard output"));
        command.stderr(File::create(&stderr).expect("a file for standard error"));
        Engine::spawn(&mut command, &self.data(), stdout, stderr)
    }

    /// Runs an engine here to its end, with nothing on standard input. One that does not end is ended, and no outcome.
    #[must_use]
    pub fn run(&self, arguments: &[impl AsRef<str>]) -> Outcome {
        let mut command = self.run_command(arguments);
        Outcome::from(output_within(&mut command, LONG_ENOUGH))
    }

    /// Runs another command against the engine here.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Outcome {
        self.command_at(self.data(), arguments)
    }

    /// Runs another command with this data directory.
    #[must_use]
    pub fn command_at(&self, data: impl AsRef<Path>, arguments: &[&str]) -> Outcome {
        let mut command = self.hailer();
        command.args(arguments).arg("--data").arg(data.as_ref());
        Outcome::of(&mut command)
    }

    /// Runs another command that needs no engine.
    #[must_use]
    pub fn command_without_data(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.hailer().args(arguments))
    }

    /// Runs a script with bash, which finds the binary as `hailer`.
    #[must_use]
    pub fn shell(&self, script: &str) -> Outcome {
        let mut command = self.program(Path::new("bash"));
        let binaries = built::hailer().parent().expect("a directory of binaries");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(binaries.to_owned()).chain(std::env::split_paths(&path));
        command.args(["-c", script]).env("TMPDIR", self.root.path()).env("HAILER_LIMITS__CALL_DEADLINE_MS", "2000");
        Outcome::of(command.env("PATH", std::env::join_paths(path).expect("a search path")))
    }

    fn run_command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut command = self.hailer();
        command.args(["run", "--listen", "127.0.0.1:0"]).arg("--rules").arg(self.rules());
        // As a flag it would be refused where the store is in memory.
        command.env("HAILER_STORE__CREATE", "true");
        command.arg("--data").arg(self.data());
        command.args(arguments.iter().map(AsRef::as_ref));
        // A machine that runs all tests at once is no measure of how long a call takes.
        if !arguments.iter().any(|argument| argument.as_ref().starts_with("limits.call_deadline_ms")) {
            command.args(["--set", "limits.call_deadline_ms=2000"]);
        }
        command
    }

    fn hailer(&self) -> Command {
        self.program(self.program.as_deref().unwrap_or_else(|| built::hailer()))
    }

    fn program(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        // Neither the checkout's configuration nor the caller's environment is to be found there.
        command.current_dir(self.root.path()).stdin(Stdio::null());
        // Rules that a test writes are built where the next run finds their dependencies again.
        // Shared, so that what all new rules depend on is compiled once. Hence each test's rules have names of their own: a module of that name lies
        // there but once.
        command.env("CARGO_TARGET_DIR", built::target().join("e2e-new"));
        built::without_settings(&mut command);
        let environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Outcome {
    fn of(command: &mut Command) -> Outcome {
        // Some of them build a rule.
        Outcome::from(output_within(command, BUILD_MAX))
    }

    fn from(output: Output) -> Outcome {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// # Panics
    /// If the command did not end with this code.
    #[must_use]
    pub fn expect(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A campaign file over a module in `modules/`.
#[must_use]
pub fn campaign(module: &str, rest: &str) -> String {
    format!("module = \"modules/{module}.wasm\"\nmode = \"live\"\n{rest}\n")
}

/// Lines of a file, each JSON; none if there is no file.
///
/// # Panics
/// If one is no JSON.
#[must_use]
pub fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}
