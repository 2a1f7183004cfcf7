//! One guest: an instance of a module, its memory, and the calls into it. An instance is cheap to
//! make, so after any fault it is dropped and never repaired.

use std::sync::Arc;

use hailer_abi::exports;
use wasmtime::{Memory, Module, ResourceLimiter, Store, Trap, TypedFunc, WasmBacktrace};

use super::deadline::{Stopwatch, TICKS_TO_LOOK};
use super::log::{GuestLog, LogLine};
use super::sandbox::Sandbox;
use hailer_base::wording::one_line;

/// The first input buffer that the host requests from a guest, in bytes. It is large enough for
/// most crossings.
const INPUT_CAPACITY_FIRST: usize = 8 << 10;
/// The number of functions of a backtrace that a fault shows.
const FRAMES_SHOWN: usize = 3;
/// The longest function name that a fault shows, in bytes.
const NAME_BYTES_MAX: usize = 160;
/// The most elements of a guest's function table.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// A fault of a guest. It is data, and never a reason for the host to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    #[error("trapped: {0}")]
    Trap(String),
    #[error("panicked: {0}")]
    Panic(String),
    #[error("took longer than the limit of {limit_ms} ms a call (call_deadline_ms){}", at(place))]
    Deadline { limit_ms: u64, place: Option<Box<str>> },
    /// The call burnt too much fuel. This happens only in a metered sandbox.
    #[error(
        "burnt more than the limit of {limit} fuel a call, which equals {limit_ms} ms \
         (call_deadline_ms){}",
        at(place)
    )]
    Fuel { limit: u64, limit_ms: u64, place: Option<Box<str>> },
    #[error("used up the limit of {limit_bytes} bytes of stack (stack_bytes_max)")]
    Stack { limit_bytes: usize },
    #[error("asked for more than the limit of {limit_bytes} bytes of memory (memory_bytes_max)")]
    Memory { limit_bytes: usize },
    #[error("returned {got} bytes, over the limit of {limit_bytes} a call (output_bytes_max)")]
    OutputTooLarge { got: usize, limit_bytes: usize },
    #[error("returned a state of {got} bytes, over the limit of {limit_bytes} (state_bytes_max)")]
    StateTooLarge { got: usize, limit_bytes: usize },
    /// The limit applies to the states and timers of all campaigns together.
    #[error(
        "would grow the states and timers of the customer to {got} bytes, over the limit of \
         {limit_bytes}"
    )]
    CustomerTooLarge { got: usize, limit_bytes: usize },
    /// The shape of the state is newer than the rule, so the rule is not called.
    #[error(
        "was not called: its state was written by version {written} of its shape; this module \
         reads up to {reads}"
    )]
    NewerState { written: u32, reads: u32 },
    #[error("returned what the ABI does not allow: {0}")]
    BadOutput(String),
    #[error("returned an error: {0}")]
    Returned(String),
    /// The rule is no longer called for a poison event or timer, which ends the whole process.
    #[error("was not called: the engine ended {times} times while it decided this alone")]
    EndedTheEngine { times: u32 },
}

/// The place of a fault as text: `, in my_rule::MyRule::slow`.
fn at(place: &Option<Box<str>>) -> String {
    place.as_ref().map_or_else(String::new, |place| format!(", in {place}"))
}

impl GuestFault {
    /// Adds the called handler to the place of the fault. For most calls it is the only known
    /// place, because the compiler inlines a handler's functions.
    pub(super) fn in_handler(mut self, handler: &str) -> GuestFault {
        if let GuestFault::Deadline { place, .. } | GuestFault::Fuel { place, .. } = &mut self {
            *place = Some(match place.take() {
                Some(inner) => format!("{inner}, called by the handler `{handler}`").into(),
                None => format!("the handler `{handler}`").into(),
            });
        }
        self
    }

    /// The kind of the fault, as a label for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            GuestFault::Trap(_) => "trap",
            GuestFault::Panic(_) => "panic",
            GuestFault::Deadline { .. } | GuestFault::Fuel { .. } => "deadline",
            GuestFault::Stack { .. } => "stack",
            GuestFault::Memory { .. } => "memory",
            GuestFault::OutputTooLarge { .. }
            | GuestFault::StateTooLarge { .. }
            | GuestFault::CustomerTooLarge { .. }
            | GuestFault::BadOutput(_) => "output",
            GuestFault::NewerState { .. } => "state",
            GuestFault::Returned(_) => "error",
            GuestFault::EndedTheEngine { .. } => "engine",
        }
    }
}

/// The host's data of a guest.
pub(super) struct GuestHost {
    /// The exported memory; `None` until the guest is instantiated.
    pub(super) memory: Option<Memory>,
    pub(super) log: GuestLog,
    memory_bytes_max: usize,
    stopwatch: Stopwatch,
}

/// The guest asked for more memory than it may have. It has its own type to distinguish it from a
/// trap.
#[derive(Debug, thiserror::Error)]
#[error("over the limit of memory")]
struct MemoryLimit;

impl ResourceLimiter for GuestHost {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes_max {
            Err(wasmtime::Error::new(MemoryLimit))
        } else {
            Ok(true)
        }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        4
    }

    fn memories(&self) -> usize {
        1
    }
}

/// A running guest.
pub(super) struct Instance {
    store: Store<GuestHost>,
    memory: Memory,
    input: TypedFunc<i32, i32>,
    configure: TypedFunc<i32, i64>,
    handle: TypedFunc<(i32, i32, i32), i64>,
    input_at: usize,
    input_capacity: usize,
    memory_bytes_at_start: usize,
    sandbox: Arc<Sandbox>,
    /// The fuel of the crossing at its start; 0 in an unmetered sandbox.
    fuel_given: u64,
}

impl Instance {
    /// Instantiates a module and configures it.
    pub(super) fn start(
        sandbox: &Arc<Sandbox>,
        module: &Module,
        params: &[u8],
    ) -> Result<Instance, GuestFault> {
        let limits = sandbox.limits();
        let host = GuestHost {
            memory: None,
            log: GuestLog::new(limits.log_bytes_max),
            memory_bytes_max: limits.memory_bytes_max,
            stopwatch: Stopwatch::new(limits.call_deadline_ms),
        };
        let mut store = Store::new(sandbox.engine(), host);
        store.limiter(|host| host);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().stopwatch.tick()));
        store.set_epoch_deadline(TICKS_TO_LOOK);
        refuel(&mut store, sandbox, 1);
        let instance = sandbox.linker().instantiate(&mut store, module);
        let instance =
            instance.map_err(|error| fault_of(&error, sandbox, &mut store.data_mut().log))?;
        let missing =
            |name: &str| GuestFault::BadOutput(format!("no export `{name}` of the ABI's type"));
        let memory = instance
            .get_memory(&mut store, exports::MEMORY)
            .ok_or_else(|| missing(exports::MEMORY))?;
        let input = instance
            .get_typed_func(&mut store, exports::INPUT)
            .map_err(|_| missing(exports::INPUT))?;
        let configure = instance
            .get_typed_func(&mut store, exports::CONFIGURE)
            .map_err(|_| missing(exports::CONFIGURE))?;
        let handle = instance
            .get_typed_func(&mut store, exports::HANDLE)
            .map_err(|_| missing(exports::HANDLE))?;
        store.data_mut().memory = Some(memory);
        let mut guest = Instance {
            store,
            memory,
            input,
            configure,
            handle,
            input_at: 0,
            input_capacity: 0,
            memory_bytes_at_start: 0,
            sandbox: Arc::clone(sandbox),
            fuel_given: 0,
        };
        guest.configure(params)?;
        guest.memory_bytes_at_start = guest.memory_bytes();
        Ok(guest)
    }

    /// Makes `calls` calls of one handler in one crossing. `output` receives the bytes that the
    /// guest returned, unchecked.
    pub(super) fn cross(
        &mut self,
        handler: u32,
        calls: u32,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), GuestFault> {
        self.open_crossing(calls);
        let length = self.place_input(input)?;
        let place = self.handle.call(&mut self.store, (handler as i32, calls as i32, length));
        let place = place.map_err(|error| self.fault(&error))?;
        self.copy_output(place, calls as usize, output)
    }

    /// Takes the lines logged since the last call, and the number of bytes that were cut.
    pub(super) fn take_log(&mut self) -> (Vec<LogLine>, u64) {
        self.store.data_mut().log.take()
    }

    /// Whether the guest's memory has grown past half of its limit. WebAssembly memory never
    /// shrinks.
    pub(super) fn is_bloated(&self) -> bool {
        let high_water = self.sandbox.limits().memory_bytes_max / 2;
        self.memory_bytes() > high_water.max(self.memory_bytes_at_start)
    }

    /// The fuel that the last crossing has burnt; 0 in an unmetered sandbox.
    pub(super) fn fuel_burnt(&self) -> u64 {
        self.store.get_fuel().map_or(0, |left| self.fuel_given.saturating_sub(left))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    fn configure(&mut self, params: &[u8]) -> Result<(), GuestFault> {
        self.open_crossing(1);
        let length = self.place_input(params)?;
        let place = self.configure.call(&mut self.store, length);
        let place = place.map_err(|error| self.fault(&error))?;
        let mut output = Vec::new();
        self.copy_output(place, 1, &mut output)?;
        match super::outcome::read_configured(&output) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(GuestFault::Returned(error)),
            Err(what) => Err(GuestFault::BadOutput(what)),
        }
    }

    fn open_crossing(&mut self, calls: u32) {
        // The deadline is for the whole crossing. If it is too short, the calls are made one by
        // one.
        self.store.set_epoch_deadline(TICKS_TO_LOOK);
        self.fuel_given = refuel(&mut self.store, &self.sandbox, calls);
        let host = self.store.data_mut();
        host.stopwatch.restart();
        host.log.open_crossing(calls as usize);
    }

    fn place_input(&mut self, input: &[u8]) -> Result<i32, GuestFault> {
        if input.len() > self.input_capacity || self.input_capacity == 0 {
            let capacity = input.len().next_power_of_two().max(INPUT_CAPACITY_FIRST);
            let asked = i32::try_from(capacity).map_err(|_| {
                GuestFault::BadOutput(format!("no guest takes an input of {} bytes", input.len()))
            })?;
            let at = self.input.call(&mut self.store, asked);
            let at = at.map_err(|error| self.fault(&error))?;
            self.input_at = at as u32 as usize;
            self.input_capacity = capacity;
        }
        self.memory.write(&mut self.store, self.input_at, input).map_err(|_| {
            GuestFault::BadOutput("`hailer_input` gave a place outside of the memory".into())
        })?;
        Ok(input.len() as i32)
    }

    fn copy_output(
        &mut self,
        place: i64,
        calls: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), GuestFault> {
        let (at, length) = ((place as u64 >> 32) as usize, (place as u64 & 0xffff_ffff) as usize);
        let limit_bytes = self.sandbox.limits().output_bytes_max;
        if length > limit_bytes.saturating_mul(calls) {
            return Err(GuestFault::OutputTooLarge { got: length, limit_bytes });
        }
        let memory = self.memory.data(&self.store);
        let bytes = at.checked_add(length).and_then(|end| memory.get(at..end));
        let bytes =
            bytes.ok_or_else(|| GuestFault::BadOutput("an output outside of the memory".into()))?;
        output.clear();
        output.extend_from_slice(bytes);
        Ok(())
    }

    fn fault(&mut self, error: &wasmtime::Error) -> GuestFault {
        fault_of(error, &self.sandbox, &mut self.store.data_mut().log)
    }
}

/// Gives a crossing the fuel that its calls may burn, if the sandbox is metered.
fn refuel(store: &mut Store<GuestHost>, sandbox: &Sandbox, calls: u32) -> u64 {
    if !sandbox.is_metered() {
        return 0;
    }
    let fuel = sandbox.fuel_per_call_max().saturating_mul(u64::from(calls));
    // This fails only in an unmetered sandbox.
    if store.set_fuel(fuel).is_ok() { fuel } else { 0 }
}

/// The function in which a guest was stopped, and its callers, if the module has their names. Names
/// from a module are foreign text.
fn place_of(error: &wasmtime::Error) -> Option<Box<str>> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let named = trace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    let names: Vec<String> =
        named.take(FRAMES_SHOWN).map(|name| one_line(name, NAME_BYTES_MAX)).collect();
    (!names.is_empty()).then(|| names.join(", called by ").into())
}

fn fault_of(error: &wasmtime::Error, sandbox: &Sandbox, log: &mut GuestLog) -> GuestFault {
    let limits = sandbox.limits();
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            GuestFault::Deadline { limit_ms: limits.call_deadline_ms, place: place_of(error) }
        }
        Some(Trap::OutOfFuel) => {
            let place = place_of(error);
            GuestFault::Fuel {
                limit: sandbox.fuel_per_call_max(),
                limit_ms: limits.call_deadline_ms,
                place,
            }
        }
        Some(Trap::StackOverflow) => GuestFault::Stack { limit_bytes: limits.stack_bytes_max },
        Some(trap) => match log.take_panic() {
            Some(text) => GuestFault::Panic(text),
            None => GuestFault::Trap(trap.to_string()),
        },
        None if error.is::<MemoryLimit>() => {
            GuestFault::Memory { limit_bytes: limits.memory_bytes_max }
        }
        // Only the root cause, because the full error has a backtrace of many lines.
        None => GuestFault::Trap(one_line(&error.root_cause().to_string(), NAME_BYTES_MAX)),
    }
}
