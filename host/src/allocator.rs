//! The allocator, of every program that is linked with the engine: tests and benchmarks judge what runs.
//!
//! Rows and events are many small parts, made on one thread and dropped on another, and a busy second leaves many of them behind.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is free goes back to the system after a second, by a thread of the allocator's own.
#[expect(unsafe_code, reason = "the allocator looks for its settings under this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";
