//! The expectations of a scenario, and the messages of those that are not met.

use super::Scenario;
use crate::testing::outcome::{self, Sent};
use crate::wire::{Reader, Writer};
use crate::{Due, Rule, State, TimerId, Timestamp};

impl<R: Rule> Scenario<R> {
    /// Checks the next communication of the last step.
    ///
    /// # Panics
    /// When it is another one, or there are no more.
    #[track_caller]
    pub fn expect_sent(&mut self, expected: impl Into<Sent>) -> &mut Self {
        let expected = expected.into();
        match self.unexpected.pop_front() {
            Some(sent) if sent == expected => self,
            Some(sent) => panic!("expected {expected}\nbut sent  {sent}\n{}", self.details()),
            None => panic!("expected {expected}\nbut nothing more was sent\n{}", self.details()),
        }
    }

    /// Checks that the last step led to no further communication and to no error.
    ///
    /// # Panics
    /// When it led to one of these.
    #[track_caller]
    pub fn expect_nothing(&mut self) -> &mut Self {
        if let Some(sent) = self.unexpected.front() {
            panic!("expected nothing more\nbut sent {sent}\n{}", self.details());
        }
        if self.outcome.error.is_some() {
            panic!("expected nothing\nbut the handler failed\n{}", self.details());
        }
        self
    }

    /// Checks that the last step left a note that contains this text.
    ///
    /// # Panics
    /// When no note contains it.
    #[track_caller]
    pub fn expect_note(&mut self, text: &str) -> &mut Self {
        assert!(
            self.notes().iter().any(|note| note.contains(text)),
            "expected a note with {text:?}\n{}",
            self.details()
        );
        self
    }

    /// Checks that the handler returned an error that contains this text.
    ///
    /// # Panics
    /// When it returned no such error.
    #[track_caller]
    pub fn expect_error(&mut self, text: &str) -> &mut Self {
        let has = self.outcome.error.as_ref().is_some_and(|error| error.contains(text));
        assert!(has, "expected an error with {text:?}\n{}", self.details());
        self
    }

    /// Checks that the timer is pending for the customer of the last event, with this due time:
    /// `minutes(60)` from now, or `in_days(1).at(10, 0)`.
    ///
    /// # Panics
    /// When it is not pending, or has another due time.
    #[track_caller]
    pub fn expect_timer(&mut self, timer: TimerId, due: impl Due) -> &mut Self {
        let mut written = Writer::default();
        due.when().write(&mut written);
        let when = outcome::when(&mut Reader::new(written.bytes()));
        let expected = match when.resolve(self.now.as_millis(), &self.zone) {
            Ok(due) => Timestamp::from_millis(due),
            Err(error) => panic!("the test expects {error}"),
        };
        match self.customers.due_of(&self.customer, timer.handler) {
            Some(due) if due == expected => self,
            Some(due) => panic!(
                "expected `{}` at {expected}\nbut it is due at {due}\n{}",
                timer.name,
                self.details()
            ),
            None => panic!(
                "expected `{}` at {expected}\nbut it is not pending\n{}",
                timer.name,
                self.details()
            ),
        }
    }

    /// Checks that the timer is not pending for the customer of the last event.
    ///
    /// # Panics
    /// When it is pending.
    #[track_caller]
    pub fn expect_no_timer(&mut self, timer: TimerId) -> &mut Self {
        if let Some(due) = self.customers.due_of(&self.customer, timer.handler) {
            panic!("expected no `{}`\nbut it is due at {due}\n{}", timer.name, self.details());
        }
        self
    }

    /// Checks the state of the customer of the last event:
    /// `.expect_state(|visits: &Visits| visits.count == 2)`.
    ///
    /// # Panics
    /// When the function returns `false`.
    #[track_caller]
    pub fn expect_state<T: State + Default + std::fmt::Debug>(
        &mut self,
        is_expected: impl FnOnce(&T) -> bool,
    ) -> &mut Self {
        let state = self.state::<T>();
        assert!(is_expected(&state), "the state is not as expected: {state:?}\n{}", self.details());
        self
    }

    /// The error, the notes and the log lines of the last step, for the message of a failed check.
    fn details(&self) -> String {
        let mut lines: Vec<String> =
            self.outcome.error.iter().map(|error| format!("error: {error}")).collect();
        lines.extend(self.outcome.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(self.logs.iter().map(|(level, line)| format!("{level:?}: {line}")));
        lines.join("\n")
    }
}
