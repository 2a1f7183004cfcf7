//! What a handler is given besides the event's fields: the moment, the customer's bucket, and a place for what it asks
//! for. It writes the outcome as the ABI wants it, while the handler runs.

use core::fmt::Display;

use crate::wire::{Reader, Writer};
use crate::{Due, Message, State, TimerId, Timestamp, When};

/// The moment of the call, and what the handler asks for.
///
/// The order of the requests is kept. A handler that returns an error asks for nothing.
#[derive(Debug)]
pub struct Context {
    now: Timestamp,
    seed: u64,
    output: Writer,
    /// Where this call's outcome begins, and where the number of its actions is to stand.
    start: usize,
    count_at: usize,
    actions: usize,
    refused: Option<&'static str>,
    /// Where a state is written, to be compared with the one before.
    state: Writer,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) logs: Vec<(Level, String)>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

/// The most actions that one call may ask for.
const ACTIONS_MAX: usize = 64;
const ACTION_SEND: u8 = 1;
const ACTION_NOTE: u8 = 2;
const ACTION_SCHEDULE: u8 = 3;
const ACTION_CANCEL: u8 = 4;

impl Context {
    /// Asks for a communication to the event's customer. Whether it goes out is for consent, frequency caps and quiet
    /// hours to say, which a rule can't get round.
    #[inline(never)]
    pub fn send(&mut self, message: Message<'_>) {
        if message.template.is_empty() {
            self.refused = Some("a message needs the name of a template");
        }
        if !self.act() {
            return;
        }
        // An array of four, and two numbers below 128, which are their own encoding.
        self.output.encoded([0x94, ACTION_SEND, message.channel]);
        self.output.str(message.template);
        self.output.map(message.entry_count);
        self.output.append(&message.entries);
    }

    /// Leaves a note about this decision: why something was sent, or why not. Whoever asks later why a customer did not
    /// get a message reads it. Keep personal data out of it.
    pub fn note(&mut self, text: impl AsRef<str>) {
        self.note_text(text.as_ref());
    }

    /// Has a timer of this rule call its handler for this customer: after a span, at a moment, or at a local time of the campaign's
    /// time zone. A timer has one occurrence for a customer: scheduling it again replaces the one that was pending. It is called once,
    /// when it is due or soon after, and not before the events that came first.
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

    /// Takes back what was scheduled for this customer. When the timer is not pending, nothing happens.
    #[inline(never)]
    pub fn cancel(&mut self, timer: TimerId) {
        if self.act() {
            self.output.encoded([0x92, ACTION_CANCEL]);
            self.output.int(i64::from(timer.handler));
        }
    }

    /// When the engine took the event in, or when it calls this timer: the same again in a replay. An event's own time is one of its
    /// fields, if it has one.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// A number from 0 to 99 that stays the same for this customer and salt, for ever: to try something on a part of
    /// the customers, `if ctx.bucket("autumn-test") < 10`. Under another salt the customers fall differently.
    #[must_use]
    pub fn bucket(&self, salt: &str) -> u32 {
        bucket(self.seed, salt)
    }

    /// Writes to the engine's log. Keep personal data out of it. The host cuts what is too long.
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        #[cfg(target_arch = "wasm32")]
        crate::module::log(level as i32, text.as_ref());
        #[cfg(not(target_arch = "wasm32"))]
        self.logs.push((level, text.as_ref().to_owned()));
    }

    /// [`Self::log`] at [`Level::Error`].
    pub fn error(&mut self, text: impl AsRef<str>) {
        self.log(Level::Error, text);
    }

    /// [`Self::log`] at [`Level::Warn`].
    pub fn warn(&mut self, text: impl AsRef<str>) {
        self.log(Level::Warn, text);
    }

    /// [`Self::log`] at [`Level::Info`].
    pub fn info(&mut self, text: impl AsRef<str>) {
        self.log(Level::Info, text);
    }

    /// [`Self::log`] at [`Level::Debug`].
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

    /// Begins the outcome of one call after those that are written already.
    pub(crate) fn begin(&mut self, now: Timestamp, seed: u64) {
        (self.now, self.seed, self.actions, self.refused) = (now, seed, 0, None);
        self.start = self.output.len();
        // An array of three, nil for the error, nil for the state, and an array whose count isn't known yet.
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

    /// Counts an action, unless there are too many.
    fn act(&mut self) -> bool {
        if self.actions == ACTIONS_MAX {
            self.refused = Some("more than 64 actions in one call");
            return false;
        }
        self.actions += 1;
        true
    }

    /// Ends the outcome of one call; `false` if it failed.
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

    /// Puts the state into the outcome, unless it is the one that was kept. The default is the same as none.
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

    /// The state stands in its first `length` bytes, and behind it the default.
    #[inline(never)]
    fn put_state(&mut self, length: usize, had_one: bool) {
        // Behind the array's head and the error's nil.
        let at = self.start + 2;
        let (state, default) = self.state.bytes().split_at_checked(length).unwrap_or_default();
        if state != default {
            // The actions, which are written already, move behind it.
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

/// What a handler may return.
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

/// Ends the outcome of one call.
#[inline]
pub fn finish(context: &mut Context, outcome: impl Outcome) {
    context.close(outcome.error());
}

/// Ends the outcome of one call that was lent a state.
pub fn finish_with<T: State + Default>(context: &mut Context, outcome: impl Outcome, state: &T, kept: Reader<'_>) {
    if context.close(outcome.error()) {
        context.keep(state, kept);
    }
}

/// The bucket of `docs/abi.md`, "Buckets". Customers are sorted by it while campaigns run, so it never changes.
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
    fn buckets_are_the_ones_that_the_abi_lists() {
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
