//! The arithmetic of a module's allocator, apart from the memory it speaks of, so that it can be tested natively.
//!
//! Memory is handed out upwards and taken back all at once: a call allocates little, frees all of it, and ends. Below `mark`
//! lies what stays (parameters, buffers), which is never handed out again. From `mark` to `top` lies what the call at hand
//! has allocated, `live` of it not yet freed. **Memory is handed out again only if no live allocation touches it:** `top` goes
//! back to `mark` when `live` is zero, or to an allocation's start when that allocation is the last one and is freed; else it
//! only rises, and so does `mark`, always.

use core::cell::Cell;

/// Addresses, and what is handed out between them.
#[derive(Debug)]
pub(crate) struct Heap {
    mark: Cell<usize>,
    top: Cell<usize>,
    live: Cell<usize>,
}

impl Heap {
    /// A heap that has yet to be told where it begins.
    pub(crate) const fn new() -> Self {
        Self { mark: Cell::new(0), top: Cell::new(0), live: Cell::new(0) }
    }

    /// Says where the heap begins, once, before anything is handed out.
    pub(crate) fn begin(&self, base: usize) {
        self.mark.set(base);
        self.top.set(base);
    }

    /// Where an allocation would lie: its start and its end. A sum that is too big stops at the last address, which no memory
    /// reaches. Nothing is handed out until [`Self::take`].
    pub(crate) fn place(&self, size: usize, align: usize) -> (usize, usize) {
        let start = self.top.get().saturating_add(align - 1) & !(align - 1);
        (start, start.saturating_add(size))
    }

    /// Hands out what ends at `end`, as [`Self::place`] said.
    pub(crate) fn take(&self, end: usize) {
        self.top.set(end);
        self.live.set(self.live.get() + 1);
    }

    /// Takes an allocation back.
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

    /// Whether an allocation can change its size where it is: nothing lies behind it.
    pub(crate) fn is_last(&self, start: usize, size: usize) -> bool {
        start >= self.mark.get() && start + size == self.top.get()
    }

    /// Moves the end of the last allocation.
    pub(crate) fn resize_last(&self, end: usize) {
        self.top.set(end);
    }

    /// Between calls: what is still alive is there to stay.
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

    /// A heap, and what a program believes to own of it.
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
            let free = |(other, length): &(usize, usize)| start + size <= *other || other + length <= start;
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
    fn calls_that_free_what_they_take_use_the_same_memory_each_time() {
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
    fn what_outlives_a_call_is_kept_and_the_next_call_starts_behind_it() {
        let mut program = Program::new();
        program.alloc(100, 4);
        program.heap.settle();
        program.alloc(10, 1);
        // Freed later than the call that made it: kept all the same, and nothing is counted twice.
        program.free(0);
        program.free(0);
        program.heap.settle();
        assert_eq!(program.heap.place(1, 1).0, BASE + 100);
    }

    #[test]
    fn an_allocation_past_the_last_address_stops_there() {
        let heap = Heap::new();
        heap.begin(BASE);
        assert_eq!(heap.place(usize::MAX, 1).1, usize::MAX);
    }
}
