//! Compiles modules in a child process with limits on time, memory and output, and caches the
//! artifacts. The engine's own process never runs the compiler on an untrusted module.
//!
//! However the child ends, the caller gets an artifact or an error message.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::artifacts::ArtifactCache;
use super::compile_child::CompileJob;
use crate::engine::{Limits, VerifiedModule, shown};

/// The hidden subcommand that runs the child.
pub const COMPILE_COMMAND: &str = "compile-module";
/// Maximum size of an artifact in bytes; machine code is several times as large as its module.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 64 << 20;
/// Maximum of bytes that are read from the child's error output.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;
/// Wall-clock limit as a multiple of the CPU limit. On a busy machine the niced child may wait for
/// the CPU several times as long as it uses it.
const WALL_PER_CPU: u32 = 3;
/// Interval at which the child's exit is polled.
const WATCH_EVERY: Duration = Duration::from_millis(2);

/// Why a module did not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot compile it: {reason}; rebuild it with `hailer build`")]
    Refused { reason: String },
    #[error(
        "compiling it took more than {cpu_seconds} s of CPU time; split its large \
         functions, or raise limits.compile_cpu_ms_max"
    )]
    CpuTime { cpu_seconds: u64 },
    #[error(
        "compiling it did not end within {wall_seconds} s; try `hailer reload` when the machine \
         is less busy"
    )]
    WallTime { wall_seconds: u64 },
    #[error(
        "compiling it took more than {memory_bytes} bytes of memory; split its large functions, \
         or raise limits.compile_memory_bytes_max"
    )]
    Memory { memory_bytes: u64 },
    #[error("its machine code is larger than {ARTIFACT_BYTES_MAX} bytes; make the rule smaller")]
    ArtifactTooLarge,
    #[error(
        "the compiler was stopped by signal {signal}; try `hailer reload`, and report the module \
         if it happens again"
    )]
    Signal { signal: i32 },
    #[error("the compiler ended without an artifact; try `hailer reload`")]
    NoArtifact,
    #[error(
        "cannot start the compiler: {0}; check the free memory, disk and process limits, then \
         `hailer reload`"
    )]
    Start(io::Error),
    #[error("the artifact cache {}: {error}", path.display())]
    Cache { path: PathBuf, error: io::Error },
}

/// Compiles modules in a child process and caches the artifacts.
#[derive(Debug)]
pub struct Compiler {
    child: ChildCommand,
    cache: ArtifactCache,
    compatibility: String,
    limits: Limits,
    cpu_seconds_max: u64,
    wall_max: Duration,
}

/// The command that starts a child.
#[derive(Clone, Debug)]
pub struct ChildCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The child's whole environment; the engine's own may contain secrets.
    pub environment: Vec<(OsString, OsString)>,
}

impl ChildCommand {
    /// A command that runs this program with [`COMPILE_COMMAND`], even if its file was replaced
    /// after the start. The artifact must come from the compiler that belongs to this engine.
    ///
    /// # Errors
    /// The operating system does not report the path of this program.
    pub fn of_this_program() -> io::Result<ChildCommand> {
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        let environment = [
            // Two threads shorten a swap by a third. More would cost address space, and CPU time
            // that the rules need.
            ("RAYON_NUM_THREADS", "2"),
            // The child exits before jemalloc would return memory in the background, and jemalloc
            // would warn about each thread that it cannot start.
            ("_RJEM_MALLOC_CONF", "background_thread:false"),
            // The C library reserves up to 128 MiB of address space for every thread that allocates
            // memory.
            ("MALLOC_ARENA_MAX", "1"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).into();
        Ok(ChildCommand { program, args: vec![COMPILE_COMMAND.into()], environment })
    }
}

impl Compiler {
    /// Opens the compiler with its cache under `data`. `compatibility` identifies everything that
    /// an artifact depends on besides its module: the compiler's version, its settings, the
    /// machine.
    ///
    /// # Errors
    /// The cache directory cannot be created, or other users can write it.
    pub fn open(
        child: ChildCommand,
        data: &Path,
        compatibility: &str,
        limits: &Limits,
    ) -> Result<Compiler, CompileError> {
        let path = data.join("artifacts");
        let cache = ArtifactCache::open(path.clone(), compatibility)
            .map_err(|error| CompileError::Cache { path, error })?;
        let cpu_seconds_max = limits.compile_cpu_ms_max.div_ceil(1000).max(1);
        Ok(Compiler {
            child,
            cache,
            compatibility: compatibility.to_owned(),
            limits: limits.clone(),
            cpu_seconds_max,
            wall_max: Duration::from_secs(cpu_seconds_max).saturating_mul(WALL_PER_CPU),
        })
    }

    /// The module's artifact, from the cache or from a child. Blocks while the child runs.
    ///
    /// The bytes come from this engine's own compiler, and cached bytes match their checksum. So
    /// they may be loaded as native code.
    ///
    /// # Errors
    /// Why the module did not compile.
    pub fn artifact(&mut self, module: &VerifiedModule) -> Result<Vec<u8>, CompileError> {
        if let Some(artifact) = self.cache.read(&module.digest) {
            return Ok(artifact);
        }
        let artifact = self.compile(&module.bytes)?;
        self.cache.keep(&module.digest, &artifact);
        Ok(artifact)
    }

    /// Removes old artifacts from the cache; those of `active` module digests stay.
    pub fn retain<'digests>(&mut self, active: impl IntoIterator<Item = &'digests str>) {
        self.cache.retain(&active.into_iter().collect());
    }

    fn compile(&self, module: &[u8]) -> Result<Vec<u8>, CompileError> {
        let mut artifact = self.cache.unfinished().map_err(CompileError::Start)?;
        let job = CompileJob {
            limits: self.limits.clone(),
            compatibility: self.compatibility.clone(),
            cpu_seconds_max: self.cpu_seconds_max,
            artifact_bytes_max: ARTIFACT_BYTES_MAX,
            module_bytes: module.len() as u64,
            artifact: artifact.path().as_os_str().as_bytes().to_vec(),
        };
        let mut complaint =
            tempfile::tempfile_in(self.cache.path()).map_err(CompileError::Start)?;
        let child = self.start(&job, module, &complaint).map_err(CompileError::Start)?;
        let status = self.wait(child)?;
        if !status.success() {
            return Err(self.failure(status, &complaint_of(&mut complaint)));
        }
        let mut bytes = Vec::new();
        let read = artifact.as_file_mut().take(ARTIFACT_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(CompileError::Start)?;
        match bytes.len() as u64 {
            0 => Err(CompileError::NoArtifact),
            size if size > ARTIFACT_BYTES_MAX => Err(CompileError::ArtifactTooLarge),
            _ => Ok(bytes),
        }
    }

    /// Input and error output are files, not pipes, so a child that neither reads nor exits cannot
    /// block its parent.
    fn start(&self, job: &CompileJob, module: &[u8], complaint: &File) -> io::Result<Child> {
        let mut input = tempfile::tempfile_in(self.cache.path())?;
        input.write_all(&serde_json::to_vec(job)?)?;
        input.write_all(b"\n")?;
        input.write_all(module)?;
        input.rewind()?;
        Command::new(&self.child.program)
            .args(&self.child.args)
            .env_clear()
            .envs(self.child.environment.iter().map(|(name, value)| (name, value)))
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(complaint.try_clone()?)
            .spawn()
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus, CompileError> {
        let deadline = Instant::now() + self.wall_max;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(WATCH_EVERY),
                outcome => {
                    // It may have exited just now; in either case no process may be left behind.
                    let _ = child.kill();
                    let _ = child.wait();
                    let overdue = CompileError::WallTime { wall_seconds: self.wall_max.as_secs() };
                    return Err(outcome.err().map_or(overdue, CompileError::Start));
                }
            }
        }
    }

    fn failure(&self, status: ExitStatus, complaint: &str) -> CompileError {
        let out_of_memory =
            CompileError::Memory { memory_bytes: self.limits.compile_memory_bytes_max };
        // Messages of Rust's allocator before it aborts, and of the system about a mapping or a
        // thread that it cannot create.
        let lacks =
            ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"];
        let lacked_memory = lacks.iter().any(|words| complaint.contains(words));
        match status.signal().and_then(Signal::from_named_raw) {
            Some(Signal::XCPU) => CompileError::CpuTime { cpu_seconds: self.cpu_seconds_max },
            Some(Signal::XFSZ) => CompileError::ArtifactTooLarge,
            _ if lacked_memory => out_of_memory,
            Some(signal) => CompileError::Signal { signal: signal.as_raw() },
            None if complaint.is_empty() => CompileError::NoArtifact,
            None => CompileError::Refused { reason: complaint.to_owned() },
        }
    }
}

/// The beginning of the child's error output, without control characters.
fn complaint_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            text.lines()
                .map(shown)
                .filter(|line| !line.trim().is_empty())
                .collect::<Vec<_>>()
                .join("; ")
        }
        Err(error) => format!("cannot read its error output: {error}"),
    }
}

#[cfg(test)]
mod tests;
