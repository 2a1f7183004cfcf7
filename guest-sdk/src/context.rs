//! The context of a call: the time, the customer's bucket, and the handler's requests. It encodes
//! the outcome of `docs/abi.md` while the handler runs.

use core::fmt::Display;

use crate::wire::{Reader, Writer};
use crate::{Due, Message, State, TimerId, Timestamp, When};

/// The time of the call, and the requests of the handler.
///
/// Requests keep their order. If a handler returns an error, its requests and its change of the
/// state are dropped.
#[derive(Debug)]
pub struct Context {
    now: Timestamp,
    seed: u64,
    output: Writer,
    /// The offset at which this call's outcome begins in `output`.
    start: usize,
    /// The offset of the outcome's number of actions.
    count_at: usize,
    actions: usize,
    /// The error of a request that is not valid; `None` if all are.
    refused: Option<&'static str>,
    /// A buffer for the new state, which is compared with the stored one.
    state: Writer,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) logs: Vec<(Level, String)>,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

/// The largest number of actions in one call.
const ACTIONS_MAX: usize = 64;
const ACTION_SEND: u8 = 1;
const ACTION_NOTE: u8 = 2;
const ACTION_SCHEDULE: u8 = 3;
const ACTION_CANCEL: u8 = 4;

impl Context {
    /// Requests a communication to the event's customer. Consent, frequency caps and quiet hours
    /// decide whether it is sent; a rule cannot bypass them.
    #[inline(never)]
    pub fn send(&mut self, message: Message<'_>) {
        if message.template.is_empty() {
            self.refused = Some("a message needs the name of a template");
        }
        if !self.act() {
            return;
        }
        // An array of four, then two numbers below 128, which MessagePack encodes as themselves.
        self.output.encoded([0x94, ACTION_SEND, message.channel]);
        self.output.str(message.template);
        self.output.map(message.entry_count);
        self.output.append(&message.entries);
    }

    /// Leaves a note about this decision: the reason why something was sent or not. Operators read
    /// it when they ask why a customer did not get a message. Do not put personal data into it.
    pub fn note(&mut self, text: impl AsRef<str>) {
        self.note_text(text.as_ref());
    }

    /// Schedules a timer of this rule for this customer: after a span, at a point in time, or at a
    /// local time in the campaign's time zone. Each timer is pending at most once for a customer,
    /// so scheduling it again replaces the pending one. The engine calls the timer's handler once,
    /// when it is due or soon after, and not before it has handled the events that were waiting by
    /// then.
    ///
    /// ```
    /// # use hailer_sdk::prelude::*;
    /// # #[rule] struct R;
    /// # #[handlers] impl R {
    /// fn bought(&self, Purchase { date_time, .. }: Purchase, ctx: &mut Context) {
    ///     ctx.schedule(Timer::NUDGE, minutes(60));
    ///     ctx.schedule(Timer::NUDGE, in_days(1).at(10, 0));
    ///     ctx.schedule(Timer::NUDGE, on(2026, 12, 31).at(9, 30));
    ///     ctx.schedule(Timer::NUDGE, every_year_on(2, 29).at(10, 0));
    ///     ctx.schedule(Timer::NUDGE, at(date_time.unwrap_or(ctx.now()) + days(2)));
    /// }
    /// # #[timer]
    /// # fn nudge(&self, _ctx: &mut Context) {}
    /// # }
    /// ```
    pub fn schedule(&mut self, timer: TimerId, due: impl Due) {
        self.schedule_for(timer.handler, due.when());
    }

    /// Cancels this customer's pending timer. Does nothing if the timer is not pending.
    #[inline(never)]
    pub fn cancel(&mut self, timer: TimerId) {
        if self.act() {
            self.output.encoded([0x92, ACTION_CANCEL]);
            self.output.int(i64::from(timer.handler));
        }
    }

    /// The time at which the engine took in the event, or the time at which it calls this timer. A
    /// replay gives the same value. The time of the event itself is one of its fields, if it has
    /// one.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The customer's bucket for this salt, from 0 to 99. It never changes. Use it to try something
    /// on a part of the customers: `if ctx.bucket("autumn-test") < 10`. Another salt splits the
    /// customers in another way.
    #[must_use]
    pub fn bucket(&self, salt: &str) -> u32 {
        bucket(self.seed, salt)
    }

    /// Writes to the engine's log. Do not put personal data into it. The host truncates long lines.
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        #[cfg(target_arch = "wasm32")]
        crate::module::log(level as i32, text.as_ref());
        #[cfg(not(target_arch = "wasm32"))]
        self.logs.push((level, text.as_ref().to_owned()));
    }

    /// Writes to the engine's log at [`Level::Error`]; see [`Self::log`].
    pub fn error(&mut self, text: impl AsRef<str>) {
        self.log(Level::Error, text);
    }

    /// Writes to the engine's log at [`Level::Warn`]; see [`Self::log`].
    pub fn warn(&mut self, text: impl AsRef<str>) {
        self.log(Level::Warn, text);
    }

    /// Writes to the engine's log at [`Level::Info`]; see [`Self::log`].
    pub fn info(&mut self, text: impl AsRef<str>) {
        self.log(Level::Info, text);
    }

    /// Writes to the engine's log at [`Level::Debug`]; see [`Self::log`].
    pub fn debug(&mut self, text: impl AsRef<str>) {
        self.log(Level::Debug, text);
    }

    pub(crate) const fn new() -> Self {
        Self {
            now: Timestamp::from_millis(0),
            seed: 0,
            output: Writer::new(),
            start: 0,
            count_at: 0,
            actions: 0,
            refused: None,
            state: Writer::new(),
            #[cfg(not(target_arch = "wasm32"))]
            logs: Vec::new(),
        }
    }

    pub(crate) fn output(&mut self) -> &mut Writer {
        &mut self.output
    }

    /// Begins the outcome of one call, after the outcomes that are already in the output.
    pub(crate) fn begin(&mut self, now: Timestamp, seed: u64) {
        (self.now, self.seed, self.actions, self.refused) = (now, seed, 0, None);
        self.start = self.output.len();
        // An array of three: nil for the error, nil for the state, and an array of 16 bits whose
        // count is filled in later.
        self.output.encoded([0x93, 0xc0, 0xc0, 0xdc, 0, 0]);
        self.count_at = self.output.len() - 2;
    }

    #[inline(never)]
    fn schedule_for(&mut self, handler: u32, when: When) {
        if self.act() {
            self.output.encoded([0x93, ACTION_SCHEDULE]);
            self.output.int(i64::from(handler));
            when.write(&mut self.output);
        }
    }

    #[inline(never)]
    fn note_text(&mut self, text: &str) {
        if self.act() {
            self.output.encoded([0x92, ACTION_NOTE]);
            self.output.str(text);
        }
    }

    /// Counts an action; `false` if the call has too many.
    fn act(&mut self) -> bool {
        if self.actions == ACTIONS_MAX {
            self.refused = Some("more than 64 actions in one call");
            return false;
        }
        self.actions += 1;
        true
    }

    /// Completes the outcome of one call; `false` if the call failed.
    #[inline(never)]
    fn close(&mut self, error: Option<String>) -> bool {
        match (error, self.refused) {
            (None, None) => {
                self.output.close_array(self.count_at, self.actions as u16);
                return true;
            }
            (Some(error), _) => self.fail(&error),
            (None, Some(refused)) => self.fail(refused),
        }
        false
    }

    #[cold]
    pub(crate) fn fail(&mut self, error: &str) {
        self.output.truncate(self.start);
        self.output.array(3);
        self.output.str(error);
        self.output.nil();
        self.output.array(0);
    }

    /// Puts the state into the outcome if it differs from the stored state. The default state is
    /// stored as no state.
    fn keep<T: State + Default>(&mut self, state: &T, mut kept: Reader<'_>) {
        let had_one = !kept.nil();
        let before = if had_one {
            kept.record(2);
            kept.unsigned();
            kept.bytes()
        } else {
            &[]
        };
        self.state.truncate(0);
        state.write(&mut self.state);
        if had_one && self.state.bytes() == before {
            return;
        }
        let length = self.state.len();
        T::default().write(&mut self.state);
        self.put_state(length, had_one);
    }

    /// Compares the state with the default and writes the result into the outcome. `self.state`
    /// holds the state in its first `length` bytes, then the default.
    #[inline(never)]
    fn put_state(&mut self, length: usize, had_one: bool) {
        // The state's nil follows the array's head and the error's nil.
        let at = self.start + 2;
        let (state, default) = self.state.bytes().split_at_checked(length).unwrap_or_default();
        if state != default {
            // The actions are already in the output; they move behind the state.
            self.state.truncate(length);
            let actions = at + 1;
            self.state.take_from(&mut self.output, actions);
            self.output.truncate(at);
            self.output.bin(length);
            self.output.append(&self.state);
        } else if had_one {
            self.output.replace(at, 0xc2);
        }
    }
}

/// The return types that a handler may have.
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    label = "return nothing, or `Result<(), E>` where `E: Display`"
)]
pub trait Outcome {
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    #[inline]
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Completes the outcome of one call without state.
#[inline]
pub fn finish(context: &mut Context, outcome: impl Outcome) {
    context.close(outcome.error());
}

/// Completes the outcome of one call with state.
pub fn finish_with<T: State + Default>(
    context: &mut Context,
    outcome: impl Outcome,
    state: &T,
    kept: Reader<'_>,
) {
    if context.close(outcome.error()) {
        context.keep(state, kept);
    }
}

/// The bucket of `docs/abi.md`, "Buckets". Running campaigns split customers by it, so the function
/// never changes.
pub(crate) fn bucket(seed: u64, salt: &str) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.to_le_bytes().into_iter().chain(salt.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    (((hash >> 32) * 100) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_match_the_vectors_of_the_abi() {
        let vectors = [(0, "", 50), (1, "autumn-test", 24), (u64::MAX, "тест", 25)];
        let buckets: Vec<u32> = vectors.iter().map(|(seed, salt, _)| bucket(*seed, salt)).collect();
        assert_eq!(buckets, vectors.map(|(_, _, expected)| expected));
    }

    #[test]
    fn buckets_are_even_and_independent_under_two_salts() {
        let mut sizes = [[0_i32; 2]; 100];
        let mut both = 0;
        for seed in 0..100_000 {
            let (first, second) = (bucket(seed, "a"), bucket(seed, "b"));
            sizes[first as usize][0] += 1;
            sizes[second as usize][1] += 1;
            both += i32::from(first < 10 && second < 10);
        }
        // Five standard deviations.
        assert!(sizes.as_flattened().iter().all(|size| (size - 1000).abs() < 160), "{sizes:?}");
        assert!((both - 1000).abs() < 160, "{both}");
    }
}
