//! The log of a guest (`hailer.log`): log lines, and the text of a panic. Both are bounded in bytes
//! and lines, and each text becomes one line. Logging never causes a fault, and cannot harm the
//! host.

use hailer_abi::{exports, wire};
use wasmtime::{Caller, Extern};

use super::instance::GuestHost;
use hailer_base::wording::one_line;

/// The most lines that one call may log.
const LINES_MAX: usize = 64;
/// The longest text of a panic, in bytes. It does not count as log, so a guest that has used up its
/// log can still report a panic.
const PANIC_BYTES_MAX: usize = 1024;

/// A line that a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The index of the call in the crossing; -1 outside of a call.
    pub call: i32,
    pub level: i32,
    pub text: String,
}

/// The log of one guest since it was last taken.
#[derive(Debug)]
pub(super) struct GuestLog {
    lines: Vec<LogLine>,
    panic: Option<String>,
    bytes_cut: u64,
    /// The most bytes that one call may log.
    bytes_max: usize,
    /// The amount that the crossing may still log.
    crossing: Allowance,
    /// The amount that the last logging call may still log. A guest that gives a false call index
    /// is still bound by the crossing.
    call: Allowance,
    last_call: i32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    bytes: usize,
    lines: usize,
}

impl GuestLog {
    pub(super) fn new(bytes_max: usize) -> GuestLog {
        let mut log = GuestLog {
            lines: Vec::new(),
            panic: None,
            bytes_cut: 0,
            bytes_max,
            crossing: Allowance::default(),
            call: Allowance::default(),
            last_call: -1,
        };
        log.open_crossing(1);
        log
    }

    /// Gives a crossing its allowance. Lines that were not taken before are dropped, because they
    /// belong to no call.
    pub(super) fn open_crossing(&mut self, calls: usize) {
        self.lines.clear();
        self.panic = None;
        self.call = Allowance { bytes: self.bytes_max, lines: LINES_MAX };
        self.last_call = -1;
        self.crossing = Allowance {
            bytes: self.bytes_max.saturating_mul(calls),
            lines: LINES_MAX.saturating_mul(calls),
        };
    }

    /// Takes the log lines, and the number of bytes that were cut.
    pub(super) fn take(&mut self) -> (Vec<LogLine>, u64) {
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.bytes_cut))
    }

    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    /// Adds `length` bytes at `at` of a guest's memory, within the allowance. A text outside of the
    /// memory counts as cut.
    fn add(&mut self, memory: &[u8], call: i32, level: i32, at: usize, length: usize) {
        if level <= wire::LOG_PANIC {
            let text = bytes_at(memory, at, length.min(PANIC_BYTES_MAX));
            self.panic = text.map(|text| one_line(&String::from_utf8_lossy(text), PANIC_BYTES_MAX));
            return;
        }
        if call != self.last_call {
            self.last_call = call;
            self.call = Allowance { bytes: self.bytes_max, lines: LINES_MAX };
        }
        let bytes_left = self.call.bytes.min(self.crossing.bytes);
        let lines_left = self.call.lines.min(self.crossing.lines);
        let kept = length.min(bytes_left);
        let text = bytes_at(memory, at, kept).filter(|_| lines_left > 0 && bytes_left > 0);
        let Some(text) = text else {
            self.bytes_cut += length as u64;
            return;
        };
        self.bytes_cut += (length - kept) as u64;
        for allowance in [&mut self.call, &mut self.crossing] {
            allowance.bytes -= kept;
            allowance.lines -= 1;
        }
        let text = one_line(&String::from_utf8_lossy(text), self.bytes_max);
        self.lines.push(LogLine { call, level: level.min(wire::LOG_DEBUG), text });
    }
}

/// The import `hailer.log`.
pub(super) fn log_from_guest(
    mut caller: Caller<'_, GuestHost>,
    call: i32,
    level: i32,
    at: i32,
    length: i32,
) {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // A start function may log before the memory is known.
        None => match caller.get_export(exports::MEMORY) {
            Some(Extern::Memory(memory)) => memory,
            _ => return,
        },
    };
    let (memory, host) = memory.data_and_store_mut(&mut caller);
    host.log.add(memory, call, level, at as u32 as usize, length as u32 as usize);
}

fn bytes_at(memory: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    memory.get(at..at.checked_add(length)?)
}
