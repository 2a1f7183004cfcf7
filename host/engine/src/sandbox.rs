//! The WebAssembly engine, set up once: what guests may use, how they are compiled, and the clock that stops them.
//!
//! Compiled code is machine code: [`Sandbox::load`] runs whatever it is given. It is fed from the private artifact cache only.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hailer_abi::imports;
use wasmtime::{Config, Engine, Linker, Module, OptLevel};

use super::instance::GuestHost;
use super::limits::Limits;
use super::log::log_from_guest;

/// So much fuel stands for a millisecond of a call's deadline. An empty loop, which is the slowest way to burn it as each turn is counted, took 1.4 ms for
/// a million; dense code burns it faster, so a rule that gets along with its fuel gets along with its time.
const FUEL_PER_MS: u64 = 1_000_000;

/// Of a guest that is stopped, so many functions are looked up: the innermost say where it was. It costs nothing until then.
const BACKTRACE_FRAMES_MAX: usize = 8;

/// The engine's tick: how often a guest that runs long is looked at.
const TICK: Duration = Duration::from_millis(1);

/// What an instance reserves of the address space for its memory, so that its accesses need no check, and the guards before and behind it.
const MEMORY_ADDRESS_BYTES: u64 = 4 << 30;
const GUARD_BYTES: u64 = 32 << 20;
/// What one instance reserves of the address space. It is not used.
pub const INSTANCE_ADDRESS_BYTES: u64 = MEMORY_ADDRESS_BYTES + 2 * GUARD_BYTES;
/// The mappings of an instance: what it may read and write, and the rest on either side.
pub const INSTANCE_MAPPINGS: u64 = 3;

/// What all guests of one process share.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<GuestHost>,
    limits: Limits,
    is_metered: bool,
}

/// Why there can be no sandbox, or why a module can't be in it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("this machine can't run the WebAssembly engine: {0}")]
    Engine(String),
    #[error("the module does not compile: {0}")]
    Compile(String),
    #[error(
        "the compiler makes code for {made}, and the engine runs code for {wanted}: they are not of one build or one \
         configuration; restart the engine"
    )]
    Incompatible { made: String, wanted: String },
    #[error("the compiled module does not load: {0}; remove the artifact cache and try again")]
    Load(String),
}

impl Sandbox {
    /// # Errors
    /// When the machine lacks something that the engine needs.
    pub fn new(limits: Limits) -> Result<Arc<Sandbox>, SandboxError> {
        Sandbox::build(limits, false)
    }

    /// A sandbox that counts what guests do instead of looking at the clock: the same call burns the same fuel on every machine, and a
    /// call ends when it has burnt as much as its deadline stands for. It is slower, and its calls are made one by one.
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

    /// Compiles a verified module into an artifact for the engine of these limits and this [`compatibility`](Self::compatibility). Hostile
    /// input can make this slow and large: it belongs in a process of its own.
    ///
    /// # Errors
    /// With the compiler's words, or when what it made would not fit.
    pub fn precompile(limits: &Limits, compatibility: &str, wasm: &[u8]) -> Result<Vec<u8>, SandboxError> {
        let mut made = String::new();
        // Which of the two sandboxes asks shows in what it has to be compatible with.
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

    /// Tells artifacts of one engine version and configuration from all others.
    #[must_use]
    pub fn compatibility(&self) -> String {
        compatibility_of(&self.engine)
    }

    /// Loads an artifact that [`Sandbox::precompile`] made.
    ///
    /// # Errors
    /// When it was made for another engine.
    ///
    /// # Safety
    /// `artifact` must be, unchanged, what [`Sandbox::precompile`] returned: it is executed as it stands.
    #[expect(unsafe_code, reason = "loading machine code can't be checked; the artifact cache answers for it")]
    pub unsafe fn load(&self, artifact: &[u8]) -> Result<Module, SandboxError> {
        // SAFETY: the caller promises that the bytes are an artifact of the compiler, unchanged.
        unsafe { Module::deserialize(&self.engine, artifact) }.map_err(|error| SandboxError::Load(format!("{error:#}")))
    }

    /// Compiles in this process: for tests and benchmarks, whose modules are their own.
    ///
    /// # Errors
    /// With the compiler's words.
    pub fn compile_here(&self, wasm: &[u8]) -> Result<Module, SandboxError> {
        Module::new(&self.engine, wasm).map_err(|error| SandboxError::Compile(format!("{error:#}")))
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it counts fuel.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.is_metered
    }

    /// The fuel that the deadline of one call stands for.
    #[must_use]
    pub fn fuel_per_call_max(&self) -> u64 {
        Sandbox::fuel_of(&self.limits)
    }

    /// The fuel that the deadline of these limits stands for.
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

/// Advances the epoch until the engine is gone.
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
    thread.spawn(tick).map_err(|error| SandboxError::Engine(format!("no thread for deadlines: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_another_engine_is_not_made_and_both_are_named() {
        let limits = Limits { stack_bytes_max: 64 << 10, ..Limits::default() };
        let compatibility = Sandbox::new(limits.clone()).unwrap().compatibility();
        let empty = b"\0asm\x01\0\0\0";
        assert!(Sandbox::precompile(&limits, &compatibility, empty).is_ok());
        let error = Sandbox::precompile(&limits, "another", empty).unwrap_err().to_string();
        assert!(error.contains(&compatibility) && error.contains("another"), "{error}");
    }
}
