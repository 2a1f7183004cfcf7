//! The WebAssembly engine, which is set up once: the features that guests may use, their
//! compilation, and the ticks that stop late guests.
//!
//! Compiled code is machine code, and [`Sandbox::load`] accepts any. So it gets artifacts only from
//! the private artifact cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hailer_abi::imports;
use wasmtime::{Config, Engine, Linker, Module, OptLevel};

use super::instance::GuestHost;
use super::limits::Limits;
use super::log::log_from_guest;

/// The fuel for each millisecond of a call's deadline. An empty loop burns fuel slowest, because
/// each round is counted: a million took 1.4 ms. Dense code burns it faster, so a rule that stays
/// within its fuel also stays within its time.
const FUEL_PER_MS: u64 = 1_000_000;

/// The number of innermost functions in the backtrace of a stopped guest. A backtrace costs nothing
/// until a guest is stopped.
const BACKTRACE_FRAMES_MAX: usize = 8;

/// The engine's tick: the interval at which a long-running guest is checked.
const TICK: Duration = Duration::from_millis(1);

/// The address space that an instance reserves for its memory, so that memory accesses need no
/// bounds check.
const MEMORY_ADDRESS_BYTES: u64 = 4 << 30;
/// The guard region before the memory, and the one behind it.
const GUARD_BYTES: u64 = 32 << 20;
/// The address space in bytes that one instance reserves. Most of it is never used.
pub const INSTANCE_ADDRESS_BYTES: u64 = MEMORY_ADDRESS_BYTES + 2 * GUARD_BYTES;
/// The memory mappings of an instance: its memory, and the reserved space on either side.
pub const INSTANCE_MAPPINGS: u64 = 3;

/// State shared by all guest instances of the process.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<GuestHost>,
    limits: Limits,
    is_metered: bool,
}

/// The reason why a sandbox cannot be made, or why a module cannot be loaded into it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("this machine cannot run the WebAssembly engine: {0}")]
    Engine(String),
    #[error("the module does not compile: {0}")]
    Compile(String),
    #[error(
        "the compiler makes code for {made}, and the engine runs code for {wanted}, because their \
         build or configuration differs; restart the engine"
    )]
    Incompatible { made: String, wanted: String },
    #[error("the compiled module does not load: {0}; remove the artifact cache and try again")]
    Load(String),
}

impl Sandbox {
    /// Makes a sandbox that limits calls by CPU time.
    ///
    /// # Errors
    /// When the machine lacks something that the engine needs.
    pub fn new(limits: Limits) -> Result<Arc<Sandbox>, SandboxError> {
        Sandbox::build(limits, false)
    }

    /// Makes a metered sandbox, which counts fuel instead of CPU time. The same call burns the same
    /// fuel on every machine, and a call ends when it has burnt the fuel of its deadline. It is
    /// slower, and its calls are made one by one.
    ///
    /// # Errors
    /// When the machine lacks something that the engine needs.
    pub fn metered(limits: Limits) -> Result<Arc<Sandbox>, SandboxError> {
        Sandbox::build(limits, true)
    }

    fn build(limits: Limits, is_metered: bool) -> Result<Arc<Sandbox>, SandboxError> {
        let failed = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = Engine::new(&wasm_config(&limits, is_metered)).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap(imports::MODULE, imports::LOG, log_from_guest).map_err(failed)?;
        if !is_metered {
            start_ticking(&engine)?;
        }
        Ok(Arc::new(Sandbox { engine, linker, limits, is_metered }))
    }

    /// Compiles a verified module into an artifact for the engine with these limits and this
    /// [`compatibility`](Self::compatibility). Hostile input can make this slow and use much
    /// memory, so it must run in a process of its own.
    ///
    /// # Errors
    /// When the module does not compile, or no engine of this build has this compatibility.
    pub fn precompile(
        limits: &Limits,
        compatibility: &str,
        wasm: &[u8],
    ) -> Result<Vec<u8>, SandboxError> {
        let mut made = String::new();
        // The compatibility shows whether the artifact is for a metered sandbox.
        for is_metered in [false, true] {
            let engine = Engine::new(&wasm_config(limits, is_metered));
            let engine = engine.map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
            let its_own = compatibility_of(&engine);
            if its_own == compatibility {
                let artifact = engine.precompile_module(wasm);
                return artifact.map_err(|error| SandboxError::Compile(format!("{error:#}")));
            }
            if !is_metered {
                made = its_own;
            }
        }
        Err(SandboxError::Incompatible { made, wanted: compatibility.to_owned() })
    }

    /// Identifies the engine version and configuration of artifacts.
    #[must_use]
    pub fn compatibility(&self) -> String {
        compatibility_of(&self.engine)
    }

    /// Loads an artifact that [`Sandbox::precompile`] made.
    ///
    /// # Errors
    /// When the artifact was made for another engine.
    ///
    /// # Safety
    /// `artifact` must be the unchanged result of [`Sandbox::precompile`], because it is executed.
    #[expect(
        unsafe_code,
        reason = "machine code cannot be checked; the artifact cache guarantees its origin"
    )]
    pub unsafe fn load(&self, artifact: &[u8]) -> Result<Module, SandboxError> {
        // SAFETY: the caller promises that the bytes are an artifact of the compiler, unchanged.
        unsafe { Module::deserialize(&self.engine, artifact) }
            .map_err(|error| SandboxError::Load(format!("{error:#}")))
    }

    /// Compiles in this process, for tests and benchmarks with trusted modules.
    ///
    /// # Errors
    /// When the module does not compile.
    pub fn compile_here(&self, wasm: &[u8]) -> Result<Module, SandboxError> {
        Module::new(&self.engine, wasm).map_err(|error| SandboxError::Compile(format!("{error:#}")))
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the sandbox counts fuel.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.is_metered
    }

    /// The fuel for the deadline of one call.
    #[must_use]
    pub fn fuel_per_call_max(&self) -> u64 {
        Sandbox::fuel_of(&self.limits)
    }

    /// The fuel for the deadline of one call with these limits.
    #[must_use]
    pub fn fuel_of(limits: &Limits) -> u64 {
        limits.call_deadline_ms.saturating_mul(FUEL_PER_MS)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn linker(&self) -> &Linker<GuestHost> {
        &self.linker
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("limits", &self.limits).finish_non_exhaustive()
    }
}

fn compatibility_of(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn wasm_config(limits: &Limits, is_metered: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(!is_metered)
        .consume_fuel(is_metered)
        .max_wasm_stack(limits.stack_bytes_max)
        .memory_reservation(MEMORY_ADDRESS_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .guard_before_linear_memory(true)
        .concurrency_support(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .wasm_bulk_memory(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    config
}

/// Starts a thread that advances the epoch until the engine is dropped.
fn start_ticking(engine: &Engine) -> Result<(), SandboxError> {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let thread = std::thread::Builder::new().name("hailer-deadlines".into());
    thread
        .spawn(tick)
        .map_err(|error| SandboxError::Engine(format!("cannot start a thread: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precompiling_for_another_engine_fails_and_names_both() {
        let limits = Limits { stack_bytes_max: 64 << 10, ..Limits::default() };
        let compatibility = Sandbox::new(limits.clone()).unwrap().compatibility();
        let empty = b"\0asm\x01\0\0\0";
        assert!(Sandbox::precompile(&limits, &compatibility, empty).is_ok());
        let error = Sandbox::precompile(&limits, "another", empty).unwrap_err().to_string();
        assert!(error.contains(&compatibility) && error.contains("another"), "{error}");
    }
}
