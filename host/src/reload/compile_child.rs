//! The compiling child: `hailer compile-module`, a process that limits itself, compiles one module, and ends.
//!
//! It takes an [`Order`] and the module on standard input, writes the artifact where the order says, and says on
//! standard error what went wrong. It never runs what it compiles.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStringExt;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use crate::engine::Limits;

/// An order is one short line; the module follows it.
const ORDER_BYTES_MAX: u64 = 64 << 10;
const NICENESS: i32 = 10;

/// What the child may use and where its artifact goes: the first line of its standard input, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    /// The engine's: some shape the code that is made.
    pub(super) limits: Limits,
    /// What the code must be compatible with.
    pub(super) compatibility: String,
    /// Processor time, in seconds.
    pub(super) cpu_seconds_max: u64,
    pub(super) artifact_bytes_max: u64,
    pub(super) module_bytes: u64,
    /// The path's bytes, which need not be UTF-8. The file is there already.
    pub(super) artifact: Vec<u8>,
}

/// The whole of `hailer compile-module`, to be called before anything else starts a thread. `precompile` is given the engine's limits, what its
/// code has to be compatible with, and the module. Returns the exit code.
pub fn compile_child_main(precompile: impl FnOnce(&Limits, &str, &[u8]) -> Result<Vec<u8>, String>) -> u8 {
    match compile(io::stdin().lock(), precompile) {
        Ok(()) => 0,
        Err(reason) => {
            // The parent shows this text; if it has gone away, nobody is left to tell.
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
    let read = input.by_ref().take(ORDER_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| format!("the order can't be read: {error}"))?;
    let order: Order = serde_json::from_slice(&line)
        .map_err(|_| "this command is for the engine itself; `hailer check` compiles modules for people".to_owned())?;
    limit_self(&order).map_err(|error| format!("the limits can't be set: {error}"))?;
    let mut module = Vec::new();
    let read = input.take(order.module_bytes).read_to_end(&mut module);
    read.map_err(|error| format!("the module can't be read: {error}"))?;
    let artifact = precompile(&order.limits, &order.compatibility, &module)?;
    let opened = OpenOptions::new().write(true).truncate(true).open(OsString::from_vec(order.artifact));
    let written = opened.and_then(|mut file| file.write_all(&artifact));
    written.map_err(|error| format!("the artifact can't be written: {error}"))
}

/// Lowers what this process may use. A limit that is already lower stays as it is.
fn limit_self(order: &Order) -> io::Result<()> {
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, order.artifact_bytes_max, order.artifact_bytes_max)?;
    let memory_bytes_max = order.limits.compile_memory_bytes_max;
    limit(Resource::As, memory_bytes_max, memory_bytes_max)?;
    // At the soft limit comes SIGXCPU, which says what happened; at the hard one SIGKILL, which does not.
    limit(Resource::Cpu, order.cpu_seconds_max, order.cpu_seconds_max.saturating_add(1))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Already as nice as can be is nice enough.
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
