//! The module's side of the ABI: exports, the log import, the allocator. This is the only file of
//! the SDK with unsafe code, and the unsafe code is compiled into modules only. A native build has
//! only the type that unit tests drive.
//!
//! The safety of all of it rests on one fact: **a rule module has one thread.** It is built without
//! the atomics feature, and the host refuses shared memories, so two functions of a module never
//! run at the same time.

#![allow(unsafe_code, reason = "exports, an import and an allocator can't be had without it")]

use core::mem::ManuallyDrop;

use crate::wire::{Reader, malformed};
use crate::{Context, Rule, Timestamp};

/// A rule with its buffers.
#[derive(Debug)]
pub struct Instance<R> {
    /// Never dropped: the rule lives as long as the module, so the module needs no code to free it.
    rule: Option<ManuallyDrop<R>>,
    context: Context,
}

/// Room for the outcomes of most crossings, in bytes. It is reserved by `configure`, so that the
/// first call does not allocate.
const OUTPUT_CAPACITY: usize = 1024;

impl<R: Rule> Instance<R> {
    /// Makes an instance without a rule; `configure` makes the rule.
    #[must_use]
    pub const fn new() -> Self {
        Self { rule: None, context: Context::new() }
    }

    /// Implements `hailer_configure`: reads the parameters and returns the output.
    pub fn configure(&mut self, input: &[u8]) -> &[u8] {
        let rule = ManuallyDrop::new(R::from_params(&mut Reader::new(input)));
        let output = self.context.output();
        output.truncate(0);
        output.reserve(OUTPUT_CAPACITY);
        output.array(1);
        match rule.configure() {
            Ok(()) => {
                output.nil();
                self.rule = Some(rule);
            }
            Err(error) => output.str(&error),
        }
        output.bytes()
    }

    /// Implements `hailer_handle`: runs the calls of one crossing and returns the output.
    pub fn handle(&mut self, handler: u32, calls: u32, input: &[u8]) -> &[u8] {
        let Some(rule) = &self.rule else { malformed() };
        let mut reader = Reader::new(input);
        self.context.output().truncate(0);
        for call in 0..calls {
            enter(call.cast_signed());
            let unknown = reader.record(4);
            let now = Timestamp::from_millis(reader.int());
            let seed = reader.unsigned();
            let kept = reader;
            if !reader.nil() {
                reader.skip(1);
            }
            self.context.begin(now, seed);
            rule.handle(handler, kept, &mut reader, &mut self.context);
            reader.skip(unknown);
        }
        enter(OUTSIDE);
        self.context.output().bytes()
    }

    /// Makes an instance of a rule that already has its parameters.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(rule: R) -> Result<Self, String> {
        rule.configure()?;
        Ok(Self { rule: Some(ManuallyDrop::new(rule)), ..Self::new() })
    }

    /// The rule; `None` until it is configured.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn rule(&self) -> Option<&R> {
        self.rule.as_deref()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn take_logs(&mut self) -> Vec<(crate::Level, String)> {
        core::mem::take(&mut self.context.logs)
    }
}

impl<R: Rule> Default for Instance<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// The call index of log lines that are written outside of a call.
const OUTSIDE: i32 = -1;

#[cfg(not(target_arch = "wasm32"))]
fn enter(_call: i32) {}

/// Converts the host's bytes to a string.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn text_of(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_else(|_| malformed())
}

/// The manifest section and the exports of a module. It expands to nothing in a native build.
#[doc(hidden)]
#[macro_export]
macro_rules! __module {
    ($rule:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static MODULE: $crate::module::Module<$rule> = $crate::module::Module::new();

            #[unsafe(link_section = "hailer.manifest")]
            static MANIFEST: [u8; <$rule as $crate::Rule>::MANIFEST.len()] =
                $crate::generated::concat(&[<$rule as $crate::Rule>::MANIFEST]);

            #[unsafe(no_mangle)]
            extern "C" fn hailer_input(capacity: u32) -> u32 {
                MODULE.input(capacity)
            }

            #[unsafe(no_mangle)]
            extern "C" fn hailer_configure(length: u32) -> u64 {
                MODULE.configure(length)
            }

            #[unsafe(no_mangle)]
            extern "C" fn hailer_handle(handler: u32, calls: u32, length: u32) -> u64 {
                MODULE.handle(handler, calls, length)
            }
        };
    };
}

#[cfg(target_arch = "wasm32")]
use wasm::enter;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::text_of;
#[cfg(target_arch = "wasm32")]
pub use wasm::{Module, log};

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::alloc::{GlobalAlloc, Layout};
    use core::cell::{Cell, UnsafeCell};

    use super::{Instance, OUTSIDE};
    use crate::Rule;
    use crate::heap::Heap;
    use crate::wire::{Writer, malformed};

    #[link(wasm_import_module = "hailer")]
    unsafe extern "C" {
        #[link_name = "log"]
        fn hailer_log(call: i32, level: i32, offset: *const u8, length: usize);
    }

    unsafe extern "C" {
        /// The first byte after the stack and the statics. The linker defines it.
        static __heap_base: u8;
    }

    /// Writes a line to the host's log.
    pub fn log(level: i32, text: &str) {
        // SAFETY: the host only reads the bytes, and only during the call; `text` outlives it.
        unsafe { hailer_log(CALL.0.get(), level, text.as_ptr(), text.len()) }
    }

    /// Converts the host's bytes to a string without a check. The ABI guarantees UTF-8, and a
    /// second check would add 760 bytes to every module.
    pub(crate) fn text_of(bytes: &[u8]) -> &str {
        // SAFETY: `docs/abi.md`, "Payloads": a str is UTF-8; the host has checked it for the whole
        // message. A host that broke this promise could equally break any other part of this
        // module's memory, as it can write all of it.
        unsafe { core::str::from_utf8_unchecked(bytes) }
    }

    /// The index of the current call within the crossing.
    static CALL: OneThread<Cell<i32>> = OneThread(Cell::new(OUTSIDE));

    pub(super) fn enter(call: i32) {
        CALL.0.set(call);
    }

    /// A static that only one thread ever uses.
    struct OneThread<T>(T);

    // SAFETY: a rule module has one thread (see the top of the file), so nothing is shared.
    unsafe impl<T> Sync for OneThread<T> {}

    /// The module's only instance of its rule, and the input buffer that the host writes to.
    #[derive(Debug)]
    pub struct Module<R> {
        parts: UnsafeCell<(Vec<u8>, Instance<R>)>,
    }

    // SAFETY: a rule module has one thread (see the top of the file), so nothing is shared.
    unsafe impl<R> Sync for Module<R> {}

    impl<R: Rule> Module<R> {
        #[must_use]
        #[expect(clippy::new_without_default, reason = "a static is made of it")]
        pub const fn new() -> Self {
            Self { parts: UnsafeCell::new((Vec::new(), Instance::new())) }
        }

        pub fn input(&self, capacity: u32) -> u32 {
            let (input, _) = self.parts();
            if input.len() < capacity as usize {
                // The old buffer is freed before the new one is allocated; its content is no longer
                // needed.
                *input = Vec::new();
                *input = vec![0; capacity as usize];
                HEAP.settle();
            }
            input.as_mut_ptr() as u32
        }

        pub fn configure(&self, length: u32) -> u64 {
            std::panic::set_hook(Box::new(on_panic));
            let (input, instance) = self.parts();
            let output = place(instance.configure(filled(input, length)));
            HEAP.settle();
            output
        }

        pub fn handle(&self, handler: u32, calls: u32, length: u32) -> u64 {
            let (input, instance) = self.parts();
            let output = place(instance.handle(handler, calls, filled(input, length)));
            HEAP.settle();
            output
        }

        #[expect(
            clippy::mut_from_ref,
            reason = "the cell is the module's, and each export takes it once"
        )]
        fn parts(&self) -> &mut (Vec<u8>, Instance<R>) {
            // SAFETY: there is one thread. Only the exports call this; each calls it once, and they
            // do not call each other. A host cannot call an export from within `hailer.log`: no
            // reference crosses there, and the ABI forbids it. So this is the only reference.
            unsafe { &mut *self.parts.get() }
        }
    }

    /// The part of the input buffer that the host filled.
    fn filled(input: &[u8], length: u32) -> &[u8] {
        input.get(..length as usize).unwrap_or_else(|| malformed())
    }

    /// Encodes an output's address and length as the ABI returns them.
    fn place(output: &[u8]) -> u64 {
        (output.as_ptr() as u64) << 32 | output.len() as u64
    }

    /// Logs a panic's message and location to the host. The panic then aborts, which traps.
    fn on_panic(panic: &std::panic::PanicHookInfo<'_>) {
        // `format!` and `concat` would add their own code; the writer is in the module anyway.
        let mut line = Writer::new();
        line.text(panic.payload_as_str().unwrap_or("a panic without a text"));
        if let Some(place) = panic.location() {
            line.text(", at ");
            line.text(place.file());
            line.text(":");
            line.digits(place.line());
        }
        log(0, text_of(line.bytes()));
    }

    #[global_allocator]
    static HEAP: Memory = Memory { heap: Heap::new(), end: Cell::new(0) };

    /// The module's memory, and the heap in it.
    struct Memory {
        heap: Heap,
        /// The end address of the memory; zero before the first allocation.
        end: Cell<usize>,
    }

    // SAFETY: a rule module has one thread (see the top of the file), so nothing is shared.
    unsafe impl Sync for Memory {}

    const PAGE: usize = 65_536;

    impl Memory {
        fn settle(&self) {
            self.heap.settle();
        }

        /// Grows the memory to reach `top`. Traps if the host refuses, so that no other code has to
        /// handle the case.
        #[cold]
        fn grow(&self, top: usize) {
            let pages = top.saturating_sub(self.end.get()).div_ceil(PAGE);
            if core::arch::wasm32::memory_grow(0, pages) == usize::MAX {
                log(0, "out of memory");
                core::arch::wasm32::unreachable();
            }
            self.end.set(core::arch::wasm32::memory_size(0) * PAGE);
        }

        fn reach(&self, top: usize) {
            if top > self.end.get() {
                self.grow(top);
            }
        }

        #[cold]
        fn begin(&self) {
            self.heap.begin(&raw const __heap_base as usize);
            self.end.set(core::arch::wasm32::memory_size(0) * PAGE);
        }
    }

    // SAFETY: an allocation has the start, alignment and length that `Heap::place` returned. It
    // lies within the memory, which was grown to reach its end before the heap took it. No two live
    // allocations overlap, by the heap's invariant. Nothing here unwinds or allocates.
    unsafe impl GlobalAlloc for Memory {
        #[inline(never)]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if self.end.get() == 0 {
                self.begin();
            }
            let (start, end) = self.heap.place(layout.size(), layout.align());
            self.reach(end);
            self.heap.take(end);
            start as *mut u8
        }

        #[inline(never)]
        unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
            self.heap.free(start as usize, layout.size());
        }

        #[inline(never)]
        unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if self.heap.is_last(start as usize, layout.size()) {
                let end = (start as usize).saturating_add(size);
                self.reach(end);
                self.heap.resize_last(end);
                return start;
            }
            // SAFETY: the caller promises a valid new layout, and that `start` is a live allocation
            // of `layout`. The new allocation does not overlap it, as the old one stays live until
            // it is freed here.
            unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                core::ptr::copy_nonoverlapping(start, moved, layout.size().min(size));
                self.dealloc(start, layout);
                moved
            }
        }
    }
}
