//! The limits of a guest. Each one is a number in the configuration.

use serde::{Deserialize, Serialize};

/// The resources that one rule may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest CPU time of one call, in milliseconds.
    pub call_deadline_ms: u64,
    /// The most linear memory of one instance, in bytes.
    pub memory_bytes_max: usize,
    /// The most stack of one instance, in bytes.
    pub stack_bytes_max: usize,
    /// The most that one call may return, in bytes.
    pub output_bytes_max: usize,
    /// The largest state of a rule for one customer, in bytes.
    pub state_bytes_max: usize,
    /// The most that one call may log, in bytes.
    pub log_bytes_max: usize,
    /// The most instances on one shard. A further one replaces those that were called least
    /// recently.
    pub instances_max: usize,
    /// The largest module, in bytes.
    pub module_bytes_max: usize,
    /// The longest CPU time of one compilation, in milliseconds.
    pub compile_cpu_ms_max: u64,
    /// The most address space of one compilation, in bytes.
    pub compile_memory_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_deadline_ms: 10,
            memory_bytes_max: 16 << 20,
            stack_bytes_max: 256 << 10,
            output_bytes_max: 64 << 10,
            state_bytes_max: 16 << 10,
            log_bytes_max: 4 << 10,
            instances_max: 1024,
            module_bytes_max: 1 << 20,
            compile_cpu_ms_max: 20_000,
            compile_memory_bytes_max: 1 << 30,
        }
    }
}
