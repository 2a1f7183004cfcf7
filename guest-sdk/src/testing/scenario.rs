//! A rule, a clock, and one event after another.

use std::collections::VecDeque;
use std::fmt;

use hailer_abi::manifest::{ANY_EVENT, Manifest};

use super::event::Event;
use super::json::Json;
use super::outcome::{Outcome, Sent};
use super::{params, projection};
use crate::context::bucket;
use crate::module::Instance;
use crate::wire::Writer;
use crate::{Duration, Level, Rule, Timestamp};

/// A rule under test. Every method returns the scenario, so that a test reads as a story.
///
/// The clock stands at 2026-01-01 until it is moved.
pub struct Scenario<R> {
    instance: Instance<R>,
    manifest: Manifest,
    now: Timestamp,
    seed: Option<u64>,
    /// What the last event led to.
    outcome: Outcome,
    unexpected: VecDeque<Sent>,
    logs: Vec<(Level, String)>,
}

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

impl<R: Rule> Scenario<R> {
    /// A scenario for a rule with its parameters.
    ///
    /// # Panics
    /// When the rule's `#[configure]` refuses the parameters.
    #[must_use]
    #[track_caller]
    pub fn new(rule: R) -> Self {
        match Instance::of(rule) {
            Ok(instance) => Self::of(instance),
            Err(error) => panic!("the rule refuses its parameters: {error}"),
        }
    }

    /// A scenario for a rule with parameters as a campaign would set them, in a JSON object; decimals are texts. What is not
    /// set has its default.
    ///
    /// # Errors
    /// What the campaign would be told: a parameter is missing, unknown, out of bounds, or refused by `#[configure]`.
    ///
    /// # Panics
    /// When the text isn't JSON.
    #[track_caller]
    pub fn with_params(json: &str) -> Result<Self, String> {
        let params = match Json::parse(json) {
            Ok(params) => params,
            Err(error) => panic!("the parameters are no JSON: {error}"),
        };
        let input = params::encode(&manifest::<R>(), &params)?;
        let mut instance = Instance::new();
        let output = instance.configure(input.bytes());
        let mut reader = crate::wire::Reader::new(output);
        reader.record(1);
        if reader.nil() { Ok(Self::of(instance)) } else { Err(reader.str().to_owned()) }
    }

    fn of(instance: Instance<R>) -> Self {
        Self {
            instance,
            manifest: manifest::<R>(),
            now: START,
            seed: None,
            outcome: Outcome::default(),
            unexpected: VecDeque::new(),
            logs: Vec::new(),
        }
    }

    /// Gives the rule an event: an [`Event`], the name of one (`"Purchase"`), or one in JSON.
    #[track_caller]
    pub fn event(&mut self, event: impl Into<Event>) -> &mut Self {
        let event = event.into();
        self.outcome = Outcome::default();
        self.logs.clear();
        let code = event.code().unwrap_or_default();
        let takes = |wanted: &str| {
            self.manifest.handlers.iter().position(|handler| handler.events.iter().any(|code| code == wanted))
        };
        if let Some(number) = takes(code).or_else(|| takes(ANY_EVENT)) {
            self.call(number, &event);
        }
        self.unexpected = self.outcome.sent.clone().into();
        self
    }

    fn call(&mut self, number: usize, event: &Event) {
        let handler = &self.manifest.handlers[number];
        let mut input = Writer::default();
        input.array(4);
        input.int(self.now.as_millis());
        input.unsigned(self.seed.unwrap_or_else(|| seed_of(&event.body)));
        input.nil();
        match projection::project(handler, &event.body, &mut input) {
            Ok(()) => {
                self.outcome = Outcome::read(self.instance.handle(number as u32, 1, input.bytes()));
                self.logs = self.instance.take_logs();
            }
            Err(missing) => {
                let note = format!("`{}` was not called: the event has no `{missing}`", handler.name);
                self.outcome.notes.push(note);
            }
        }
    }

    /// Moves the clock on.
    pub fn advance(&mut self, span: Duration) -> &mut Self {
        self.now = self.now + span;
        self
    }

    /// Sets the clock, in RFC 3339.
    ///
    /// # Panics
    /// When the text is no moment.
    #[track_caller]
    pub fn at(&mut self, moment: &str) -> &mut Self {
        match moment.parse() {
            Ok(now) => self.now = now,
            Err(error) => panic!("{moment}: {error}"),
        }
        self
    }

    /// Makes the customer of the next events one who falls into a bucket: `ctx.bucket(salt)` is `number`.
    ///
    /// # Panics
    /// When the number isn't below 100.
    #[track_caller]
    pub fn in_bucket(&mut self, salt: &str, number: u32) -> &mut Self {
        assert!(number < 100, "buckets go from 0 to 99");
        self.seed = (0..).find(|seed| bucket(*seed, salt) == number);
        self
    }

    /// The next communication that the last event led to is this one.
    ///
    /// # Panics
    /// When it isn't.
    #[track_caller]
    pub fn expect_sent(&mut self, expected: impl Into<Sent>) -> &mut Self {
        let expected = expected.into();
        match self.unexpected.pop_front() {
            Some(sent) if sent == expected => self,
            Some(sent) => panic!("expected {expected}\nbut sent  {sent}\n{}", self.story()),
            None => panic!("expected {expected}\nbut nothing more was sent\n{}", self.story()),
        }
    }

    /// The last event led to no communication, or to none but the expected, and to no error.
    ///
    /// # Panics
    /// When it led to one.
    #[track_caller]
    pub fn expect_nothing(&mut self) -> &mut Self {
        if let Some(sent) = self.unexpected.front() {
            panic!("expected nothing more\nbut sent {sent}\n{}", self.story());
        }
        if self.outcome.error.is_some() {
            panic!("expected nothing\nbut the handler failed\n{}", self.story());
        }
        self
    }

    /// The last event left a note that has this text in it.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn expect_note(&mut self, text: &str) -> &mut Self {
        assert!(self.notes().iter().any(|note| note.contains(text)), "expected a note with {text:?}\n{}", self.story());
        self
    }

    /// The handler returned an error that has this text in it.
    ///
    /// # Panics
    /// When it didn't.
    #[track_caller]
    pub fn expect_error(&mut self, text: &str) -> &mut Self {
        let has = self.outcome.error.as_ref().is_some_and(|error| error.contains(text));
        assert!(has, "expected an error with {text:?}\n{}", self.story());
        self
    }

    /// All communications that the last event led to.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.outcome.sent
    }

    /// The notes that the last event left.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.outcome.notes
    }

    /// The lines that the last event logged.
    #[must_use]
    pub fn logs(&self) -> &[(Level, String)] {
        &self.logs
    }

    /// The rule's manifest, as the engine reads it from the module.
    #[must_use]
    pub fn manifest(&self) -> &str {
        R::MANIFEST
    }

    /// Notes, error and logs, for a message that explains a failure.
    fn story(&self) -> String {
        let mut lines: Vec<String> = self.outcome.error.iter().map(|error| format!("error: {error}")).collect();
        lines.extend(self.outcome.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(self.logs.iter().map(|(level, line)| format!("{level:?}: {line}")));
        lines.join("\n")
    }
}

/// Whatever the rule is, so that `with_params(…).unwrap_err()` needs nothing of it.
impl<R> fmt::Debug for Scenario<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, now, outcome, .. } = self;
        let mut shown = formatter.debug_struct("Scenario");
        shown.field("rule", &manifest.name).field("now", now).field("outcome", outcome).finish_non_exhaustive()
    }
}

fn manifest<R: Rule>() -> Manifest {
    serde_json::from_str(R::MANIFEST).expect("the macros write the manifest that the ABI's crate reads")
}

/// One number per customer, as the engine has one; which one doesn't matter.
fn seed_of(body: &Json) -> u64 {
    use std::hash::Hasher;
    let id = ["/customerInfo/customerId", "/toCustomerInfo/customerId"].iter().find_map(|path| body.at(path));
    let mut hasher = crate::collections::FixedHasher::default();
    hasher.write(id.map(Json::to_string).unwrap_or_default().as_bytes());
    hasher.finish()
}
