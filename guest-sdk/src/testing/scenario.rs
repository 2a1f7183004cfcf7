//! A rule, a clock, and one event after another.

use std::collections::VecDeque;
use std::fmt;

use hailer_abi::catalogue::event_named;
use hailer_abi::guard::Guard;
use hailer_abi::manifest::{ANY_EVENT, Manifest};
use hailer_abi::value::elements;
use jiff::tz::TimeZone;

use super::customers::{Customers, Pending, customer_of, merged_away};
use super::event::Event;
use super::json::Json;
use super::outcome::{self, Outcome, Sent, TimerRequest};
use super::{params, projection};
use crate::context::bucket;
use crate::module::Instance;
use crate::wire::{Reader, Writer};
use crate::{Due, Duration, Level, Rule, State, TimerId, Timestamp};

/// A rule under test. Every method returns the scenario, so that a test reads as a story.
///
/// The clock stands at 2026-01-01 until it is moved, and local times are those of UTC until [`Self::time_zone`] says otherwise. Customers
/// are told apart by the ids in their events.
pub struct Scenario<R> {
    instance: Instance<R>,
    manifest: Manifest,
    /// One for each handler.
    guards: Vec<Option<Guard>>,
    now: Timestamp,
    zone: TimeZone,
    seed: Option<u64>,
    customers: Customers,
    /// Whose the last event, or timer, was.
    customer: String,
    /// What the last step led to: an event, or moving the clock.
    outcome: Outcome,
    unexpected: VecDeque<Sent>,
    logs: Vec<(Level, String)>,
}

/// A rule whose timers fire more often than this while the clock moves once will go on for ever.
const FIRED_MAX: u32 = 100_000;
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
        let manifest = manifest::<R>();
        Self {
            guards: guards(&manifest, &instance),
            instance,
            manifest,
            now: START,
            zone: TimeZone::UTC,
            seed: None,
            customers: Customers::default(),
            customer: String::new(),
            outcome: Outcome::default(),
            unexpected: VecDeque::new(),
            logs: Vec::new(),
        }
    }

    /// Gives the rule an event: an [`Event`], the name of one (`"Purchase"`), or one in JSON. A merge of two customers first unites
    /// what is kept about them.
    #[track_caller]
    pub fn event(&mut self, event: impl Into<Event>) -> &mut Self {
        let event = event.into();
        self.begin();
        let code = event.code().unwrap_or_default();
        self.customer = customer_of(&event.body);
        if event_named("ProfilesMerged").is_some_and(|merge| merge.all_codes().any(|merged| merged == code)) {
            let from = merged_away(&event.body);
            self.customer = self.customers.who_stays(&from, std::mem::take(&mut self.customer));
            self.unite(&from);
        } else {
            self.customer = self.customers.resolve(std::mem::take(&mut self.customer));
        }
        let takes = |wanted: &str| {
            self.manifest.handlers.iter().position(|handler| handler.events.iter().any(|code| code == wanted))
        };
        if let Some(number) = takes(code).or_else(|| takes(ANY_EVENT)) {
            let handler = &self.manifest.handlers[number];
            let mut fields = Writer::default();
            let projected = projection::project(handler, &event.body, &mut fields);
            let reason = match (self.missed(number, &fields), projected) {
                (None, Ok(())) => None,
                (Some(condition), _) => Some(format!("its condition `{condition}` did not match")),
                (None, Err(missing)) => Some(missing),
            };
            match reason {
                None => _ = self.call(number as u32, &fields),
                Some(reason) => self.outcome.notes.push(format!("`{}` was not called: {reason}", handler.name)),
            }
        }
        self.fire_until(self.now);
        self.end()
    }

    /// The condition of a handler, in words, if these fields don't match it.
    fn missed(&self, number: usize, fields: &Writer) -> Option<String> {
        let guard = self.guards.get(number)?.as_ref()?;
        let values = elements(fields.bytes()).unwrap_or_default();
        let answer = guard.answer(&values);
        let as_rust = self.instance.rule().and_then(|rule| rule.condition(number as u32, Reader::new(fields.bytes())));
        assert_eq!(answer, as_rust, "the engine answers `{}` otherwise than Rust: a bug of hailer-sdk", guard.text());
        (answer != Some(true)).then(|| guard.text().to_owned())
    }

    fn begin(&mut self) {
        self.outcome = Outcome::default();
        self.logs.clear();
    }

    fn end(&mut self) -> &mut Self {
        self.unexpected = self.outcome.sent.clone().into();
        self
    }

    /// Calls a handler for the customer of now, and does what it asks for. Returns the timers that it scheduled or cancelled.
    fn call(&mut self, number: u32, fields: &Writer) -> Vec<u32> {
        let mut input = Writer::default();
        input.array(4);
        input.int(self.now.as_millis());
        input.unsigned(self.seed.unwrap_or_else(|| seed_of(&self.customer)));
        write_state(self.customers.state(&self.customer), &mut input);
        input.append(fields);
        let called = Outcome::read(self.instance.handle(number, 1, input.bytes()));
        self.logs.extend(self.instance.take_logs());
        let version = self.manifest.state_version.unwrap_or_default();
        self.customers.change_state(&self.customer, called.state.clone(), version);
        let mut requested = Vec::new();
        for request in &called.timers {
            let (TimerRequest::Cancel(handler) | TimerRequest::Schedule(handler, _)) = *request;
            requested.push(handler);
            match *request {
                TimerRequest::Cancel(handler) => self.customers.cancel(&self.customer, handler),
                TimerRequest::Schedule(handler, when) => match when.resolve(self.now.as_millis(), &self.zone) {
                    Ok(due) => self.customers.schedule(&self.customer, handler, Timestamp::from_millis(due)),
                    Err(wrong) => panic!("the rule scheduled {wrong}"),
                },
            }
        }
        self.outcome.add(called);
        requested
    }

    /// Makes what is kept about a customer part of what is kept about the customer of now.
    fn unite(&mut self, from: &str) {
        let to = self.customer.clone();
        if from.is_empty() || from == to {
            return;
        }
        self.customers.redirect(from, &to);
        let (other, theirs) = (self.customers.take_state(from), self.customers.take_timers(from));
        let Some(number) = self.manifest.handlers.iter().position(|handler| handler.merge) else {
            // State and timers stay together: those of the one customer or those of the other.
            if self.customers.state(&to).is_none() && self.customers.timers(&to).next().is_none() {
                other.into_iter().for_each(|state| self.customers.put_state(&to, state));
                theirs.into_iter().for_each(|timer| self.customers.leave_timer(&to, timer));
            }
            return;
        };
        if other.is_none() && theirs.is_empty() {
            return;
        }
        let mut fields = Writer::default();
        fields.array(2);
        write_state(other.as_ref().map(|(version, bytes)| (*version, &bytes[..])), &mut fields);
        let ours: Vec<Pending> = self.customers.timers(&to).cloned().collect();
        fields.array(ours.len() + theirs.len());
        for (timers, are_theirs) in [(&ours, false), (&theirs, true)] {
            for timer in timers {
                fields.array(3);
                fields.unsigned(u64::from(timer.handler));
                fields.bool(are_theirs);
                fields.int(timer.due.as_millis());
            }
        }
        let requested = self.call(number as u32, &fields);
        if self.outcome.error.is_none() {
            let untouched = theirs.into_iter().filter(|timer| !requested.contains(&timer.handler));
            untouched.for_each(|timer| self.customers.leave_timer(&to, timer));
        }
    }

    /// Calls every timer that is due until then, each when it is due, the clock standing there.
    fn fire_until(&mut self, until: Timestamp) {
        let mut fired = 0;
        while let Some(Pending { customer, handler, due, .. }) = self.customers.take_due(until) {
            fired += 1;
            assert!(fired <= FIRED_MAX, "the rule's timers go on for ever: each call schedules another at once");
            self.now = self.now.max(due);
            self.customer = customer;
            let mut none = Writer::default();
            none.array(0);
            self.call(handler, &none);
        }
        self.now = self.now.max(until);
    }

    /// Moves the clock on. The timers that fall due on the way are called, and what they all led to is there to be expected.
    pub fn advance(&mut self, span: Duration) -> &mut Self {
        self.begin();
        self.fire_until(self.now + span);
        self.end()
    }

    /// Sets the clock, in RFC 3339. Forward is [`Self::advance`]; backward calls nothing.
    ///
    /// # Panics
    /// When the text is no moment.
    #[track_caller]
    pub fn at(&mut self, moment: &str) -> &mut Self {
        match moment.parse::<Timestamp>() {
            Ok(moment) if moment > self.now => return self.advance(moment.since(self.now)),
            Ok(moment) => self.now = moment,
            Err(error) => panic!("{moment}: {error}"),
        }
        self
    }

    /// The time zone of local times, as a campaign's file says it: `Europe/Moscow`.
    ///
    /// # Panics
    /// When there is no such time zone.
    #[track_caller]
    pub fn time_zone(&mut self, name: &str) -> &mut Self {
        match TimeZone::get(name) {
            Ok(zone) => self.zone = zone,
            Err(error) => panic!("{error}"),
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

    /// The next communication that the last step led to is this one.
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

    /// The last step led to no communication, or to none but the expected, and to no error.
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

    /// The last step left a note that has this text in it.
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

    /// The timer is pending for the customer of the last event, and due then: `minutes(60)` from now, `in_days(1).at(10, 0)`.
    ///
    /// # Panics
    /// When it isn't.
    #[track_caller]
    pub fn expect_timer(&mut self, timer: TimerId, due: impl Due) -> &mut Self {
        let mut written = Writer::default();
        due.when().write(&mut written);
        let when = outcome::when(&mut Reader::new(written.bytes()));
        let expected = match when.resolve(self.now.as_millis(), &self.zone) {
            Ok(due) => Timestamp::from_millis(due),
            Err(wrong) => panic!("the test expects {wrong}"),
        };
        match self.customers.due_of(&self.customer, timer.handler) {
            Some(due) if due == expected => self,
            Some(due) => panic!("expected `{}` at {expected}\nbut it is due at {due}\n{}", timer.name, self.story()),
            None => panic!("expected `{}` at {expected}\nbut it is not pending\n{}", timer.name, self.story()),
        }
    }

    /// The timer is not pending for the customer of the last event.
    ///
    /// # Panics
    /// When it is.
    #[track_caller]
    pub fn expect_no_timer(&mut self, timer: TimerId) -> &mut Self {
        if let Some(due) = self.customers.due_of(&self.customer, timer.handler) {
            panic!("expected no `{}`\nbut it is due at {due}\n{}", timer.name, self.story());
        }
        self
    }

    /// The state of the customer of the last event is like that: `.expect_state(|visits: &Visits| visits.count == 2)`.
    ///
    /// # Panics
    /// When it isn't.
    #[track_caller]
    pub fn expect_state<T: State + Default + std::fmt::Debug>(
        &mut self,
        is_expected: impl FnOnce(&T) -> bool,
    ) -> &mut Self {
        let state = self.state::<T>();
        assert!(is_expected(&state), "the state is another: {state:?}\n{}", self.story());
        self
    }

    /// The state of the customer of the last event; the default if nothing is kept.
    ///
    /// # Panics
    /// When it is not of this type.
    #[must_use]
    #[track_caller]
    pub fn state<T: State + Default>(&self) -> T {
        match self.customers.state(&self.customer) {
            None => T::default(),
            Some((_, bytes)) => match T::read(&mut Reader::new(bytes)) {
                Ok(state) => state,
                Err(error) => panic!("the state is of another type: {error:?}"),
            },
        }
    }

    /// All communications that the last step led to.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.outcome.sent
    }

    /// The notes that the last step left.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.outcome.notes
    }

    /// The lines that the last step logged.
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

/// The guards that an engine would ask before it calls the rule.
fn guards<R: Rule>(manifest: &Manifest, instance: &Instance<R>) -> Vec<Option<Guard>> {
    let mut params = Writer::default();
    if let Some(rule) = instance.rule() {
        rule.write_params(&mut params);
    }
    let guard = |handler: &hailer_abi::manifest::Handler| {
        let condition = handler.when.as_ref()?;
        if let Err(reason) = condition.check(&handler.fields, &manifest.params) {
            panic!("the condition of `{}`: {reason}: a bug of hailer-sdk", handler.name);
        }
        let guard = Guard::new(condition, &handler.fields, &manifest.params, params.bytes());
        Some(guard.expect("a checked condition and the parameters that it was checked for"))
    };
    manifest.handlers.iter().map(guard).collect()
}

/// One number per customer, as the engine has one; which one doesn't matter.
fn seed_of(customer: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = crate::collections::FixedHasher::default();
    hasher.write(customer.as_bytes());
    hasher.finish()
}

fn write_state(state: Option<(u32, &[u8])>, writer: &mut Writer) {
    match state {
        None => writer.nil(),
        Some((version, bytes)) => {
            writer.array(2);
            writer.unsigned(u64::from(version));
            writer.bin(bytes.len());
            for byte in bytes {
                writer.encoded([*byte]);
            }
        }
    }
}
