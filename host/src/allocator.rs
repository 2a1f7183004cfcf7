//! The allocator of every program that links the engine. Tests and benchmarks use the same one, so
//! that they measure what runs in production.
//!
//! Rows and events are many small allocations, made on one thread and freed on another. A busy
//! second leaves many of them unused.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A background thread of the allocator returns unused memory to the system after one second.
#[expect(unsafe_code, reason = "the allocator looks for its settings under this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";
