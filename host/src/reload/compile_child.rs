//! The compile child: `hailer compile-module`, a process that limits itself, compiles one module,
//! and exits.
//!
//! It reads a [`CompileJob`] and the module from standard input, writes the artifact to the path in
//! the job, and prints an error to standard error. It never runs the compiled code.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStringExt;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use crate::engine::Limits;

/// Maximum size of the job, which is one line before the module.
const JOB_BYTES_MAX: u64 = 64 << 10;
const NICENESS: i32 = 10;

/// The child's limits and the path of its artifact: the first line of its standard input, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CompileJob {
    /// The engine's limits; some of them affect the generated code.
    pub(super) limits: Limits,
    /// Identifies what the code must be compatible with.
    pub(super) compatibility: String,
    /// Maximum of CPU time, in seconds.
    pub(super) cpu_seconds_max: u64,
    pub(super) artifact_bytes_max: u64,
    pub(super) module_bytes: u64,
    /// The path of the artifact as bytes, which need not be UTF-8. The file exists already.
    pub(super) artifact: Vec<u8>,
}

/// Runs `hailer compile-module`. Call it before anything starts a thread. `precompile` receives the
/// engine's limits, the compatibility string, and the module. Returns the exit code.
pub fn compile_child_main(
    precompile: impl FnOnce(&Limits, &str, &[u8]) -> Result<Vec<u8>, String>,
) -> u8 {
    match compile(io::stdin().lock(), precompile) {
        Ok(()) => 0,
        Err(reason) => {
            // The parent shows this text; if the parent has exited, the error has no reader.
            let _ = writeln!(io::stderr(), "{reason}");
            1
        }
    }
}

pub(super) fn compile(
    mut input: impl BufRead,
    precompile: impl FnOnce(&Limits, &str, &[u8]) -> Result<Vec<u8>, String>,
) -> Result<(), String> {
    let mut line = Vec::new();
    let read = input.by_ref().take(JOB_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read the job: {error}"))?;
    let job: CompileJob = serde_json::from_slice(&line).map_err(|_| {
        "this command is for the engine itself; `hailer check` compiles modules for people"
            .to_owned()
    })?;
    limit_self(&job).map_err(|error| format!("cannot set the limits: {error}"))?;
    let mut module = Vec::new();
    let read = input.take(job.module_bytes).read_to_end(&mut module);
    read.map_err(|error| format!("cannot read the module: {error}"))?;
    let artifact = precompile(&job.limits, &job.compatibility, &module)?;
    let opened =
        OpenOptions::new().write(true).truncate(true).open(OsString::from_vec(job.artifact));
    let written = opened.and_then(|mut file| file.write_all(&artifact));
    written.map_err(|error| format!("cannot write the artifact: {error}"))
}

/// Lowers this process's resource limits. A limit that is already lower stays unchanged.
fn limit_self(job: &CompileJob) -> io::Result<()> {
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, job.artifact_bytes_max, job.artifact_bytes_max)?;
    let memory_bytes_max = job.limits.compile_memory_bytes_max;
    limit(Resource::As, memory_bytes_max, memory_bytes_max)?;
    // The soft limit raises SIGXCPU, which identifies the cause; the hard limit raises SIGKILL,
    // which does not.
    limit(Resource::Cpu, job.cpu_seconds_max, job.cpu_seconds_max.saturating_add(1))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // An error means that the process is as nice as possible already.
    let _ = nice(NICENESS);
    Ok(())
}

fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let lower = |now: Option<u64>, wanted: u64| Some(now.map_or(wanted, |now| now.min(wanted)));
    let maximum = lower(now.maximum, hard);
    let current = lower(now.current, soft).min(maximum);
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}
