//! The address arithmetic of a module's allocator. It does not touch memory, so tests run it
//! natively.
//!
//! The allocator is a bump allocator: it hands out rising addresses and reclaims them all at once,
//! because a call allocates little, frees all of it, and ends. Memory below `mark` stays allocated
//! (parameters, buffers) and is never handed out again. Memory from `mark` to `top` belongs to the
//! current call, and `live` counts its allocations that are not freed yet. **Memory is handed out
//! again only if no live allocation touches it:** `top` goes back to `mark` when `live` is zero, or
//! to the start of the last allocation when that one is freed. Otherwise `top` only rises, and
//! `mark` never falls.

use core::cell::Cell;

/// The bounds of the allocated addresses.
#[derive(Debug)]
pub(crate) struct Heap {
    mark: Cell<usize>,
    top: Cell<usize>,
    live: Cell<usize>,
}

impl Heap {
    /// Makes a heap without a start address; see [`Self::begin`].
    pub(crate) const fn new() -> Self {
        Self { mark: Cell::new(0), top: Cell::new(0), live: Cell::new(0) }
    }

    /// Sets the start address, once, before the first allocation.
    pub(crate) fn begin(&self, base: usize) {
        self.mark.set(base);
        self.top.set(base);
    }

    /// The start and the end that an allocation would have. An end past the last address is reduced
    /// to it; no memory reaches that far. The memory is not allocated until [`Self::take`].
    pub(crate) fn place(&self, size: usize, align: usize) -> (usize, usize) {
        let start = self.top.get().saturating_add(align - 1) & !(align - 1);
        (start, start.saturating_add(size))
    }

    /// Allocates the memory that [`Self::place`] returned, up to `end`.
    pub(crate) fn take(&self, end: usize) {
        self.top.set(end);
        self.live.set(self.live.get() + 1);
    }

    /// Frees an allocation.
    pub(crate) fn free(&self, start: usize, size: usize) {
        if start < self.mark.get() {
            return;
        }
        self.live.set(self.live.get() - 1);
        if self.live.get() == 0 {
            self.top.set(self.mark.get());
        } else if start + size == self.top.get() {
            self.top.set(start);
        }
    }

    /// Whether an allocation is the last one of this call, so that it can change its size in place.
    pub(crate) fn is_last(&self, start: usize, size: usize) -> bool {
        start >= self.mark.get() && start + size == self.top.get()
    }

    /// Sets the end of the last allocation.
    pub(crate) fn resize_last(&self, end: usize) {
        self.top.set(end);
    }

    /// Ends a call: allocations that are still live stay allocated for good.
    pub(crate) fn settle(&self) {
        if self.live.get() > 0 {
            self.mark.set(self.top.get());
            self.live.set(0);
        }
        self.top.set(self.mark.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: usize = 1000;

    /// A heap, and the allocations that a program owns.
    struct Program {
        heap: Heap,
        owned: Vec<(usize, usize)>,
        peak: usize,
    }

    impl Program {
        fn new() -> Self {
            let heap = Heap::new();
            heap.begin(BASE);
            Self { heap, owned: Vec::new(), peak: BASE }
        }

        fn alloc(&mut self, size: usize, align: usize) {
            let (start, end) = self.heap.place(size, align);
            assert!(start % align == 0 && end == start + size && start >= BASE);
            self.own(start, size);
            self.heap.take(end);
        }

        fn own(&mut self, start: usize, size: usize) {
            let free = |(other, length): &(usize, usize)| {
                start + size <= *other || other + length <= start
            };
            assert!(self.owned.iter().all(free), "{start}+{size} overlaps {:?}", self.owned);
            self.owned.push((start, size));
            self.peak = self.peak.max(start + size);
        }

        fn free(&mut self, index: usize) {
            let (start, size) = self.owned.swap_remove(index);
            self.heap.free(start, size);
        }

        fn resize(&mut self, index: usize, size: usize) {
            let (start, old) = self.owned[index];
            if self.heap.is_last(start, old) {
                self.owned.swap_remove(index);
                self.heap.resize_last(start + size);
                self.own(start, size);
            } else {
                self.alloc(size, 8);
                self.free(index);
            }
        }
    }

    #[test]
    fn no_two_live_allocations_ever_overlap() {
        let mut state: u64 = 1;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..200 {
            let mut program = Program::new();
            for _ in 0..500 {
                let count = program.owned.len();
                match random(8) {
                    0..=2 => program.alloc(1 + random(100), 1 << random(5)),
                    3 | 4 if count > 0 => program.free(random(count)),
                    5 if count > 0 => program.free(count - 1),
                    6 if count > 0 => program.resize(random(count), 1 + random(200)),
                    7 if random(10) == 0 => program.heap.settle(),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn calls_that_free_their_memory_reuse_the_same_addresses() {
        let mut program = Program::new();
        program.alloc(500, 8);
        program.heap.settle();
        for _ in 0..1000 {
            program.alloc(64, 8);
            program.alloc(128, 16);
            program.resize(1, 4);
            program.free(1);
            program.free(1);
            program.heap.settle();
        }
        assert!(program.peak < BASE + 500 + 300, "{}", program.peak);
    }

    #[test]
    fn memory_live_at_the_end_of_a_call_is_never_handed_out_again() {
        let mut program = Program::new();
        program.alloc(100, 4);
        program.heap.settle();
        program.alloc(10, 1);
        // Freed after the call that allocated it: the memory stays allocated, and `live` is not
        // decremented for it.
        program.free(0);
        program.free(0);
        program.heap.settle();
        assert_eq!(program.heap.place(1, 1).0, BASE + 100);
    }

    #[test]
    fn an_allocation_past_the_last_address_ends_there() {
        let heap = Heap::new();
        heap.begin(BASE);
        assert_eq!(heap.place(usize::MAX, 1).1, usize::MAX);
    }
}
