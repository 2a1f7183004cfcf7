//! A scenario: a rule under test, its clock, and its events.

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
use super::outcome::{Outcome, Sent, TimerRequest};
use super::{params, projection};
use crate::context::bucket;
use crate::module::Instance;
use crate::wire::{Reader, Writer};
use crate::{Duration, Level, Rule, State, Timestamp};

mod expect;

/// A rule under test. Every method returns the scenario, so that calls can be chained.
///
/// The clock is at 2026-01-01 until it is moved. Local times are in UTC until
/// [`Self::time_zone`] sets a zone. Customers are identified by the ids in their events.
pub struct Scenario<R> {
    instance: Instance<R>,
    manifest: Manifest,
    /// The conditions, one for each handler; `None` if it has none.
    guards: Vec<Option<Guard>>,
    now: Timestamp,
    zone: TimeZone,
    seed: Option<u64>,
    customers: Customers,
    /// The customer of the last event or timer.
    customer: String,
    /// The outcome of the last step: an event, or a move of the clock.
    outcome: Outcome,
    /// The communications of the last step that no `expect_sent` has matched yet.
    unexpected: VecDeque<Sent>,
    logs: Vec<(Level, String)>,
}

/// The largest number of timers that fire in one move of the clock. A rule that exceeds it would
/// run forever.
const FIRED_MAX: u32 = 100_000;
/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

impl<R: Rule> Scenario<R> {
    /// Makes a scenario for a rule with its parameters.
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

    /// Makes a scenario for a rule with parameters as a campaign sets them, in a JSON object.
    /// Decimals are strings. A parameter that is not set has its default.
    ///
    /// # Errors
    /// The error that the campaign would get: a parameter is missing, unknown, out of bounds, or
    /// refused by `#[configure]`.
    ///
    /// # Panics
    /// When the text is not JSON.
    #[track_caller]
    pub fn with_params(json: &str) -> Result<Self, String> {
        let params = match Json::parse(json) {
            Ok(params) => params,
            Err(error) => panic!("the parameters are not JSON: {error}"),
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

    /// Handles an event: an [`Event`], the name of one (`"Purchase"`), or one in JSON. A merge of
    /// two customers first merges their state and timers.
    #[track_caller]
    pub fn event(&mut self, event: impl Into<Event>) -> &mut Self {
        let event = event.into();
        self.begin();
        let code = event.code().unwrap_or_default();
        self.customer = customer_of(&event.body);
        if event_named("ProfilesMerged")
            .is_some_and(|merge| merge.all_codes().any(|merged| merged == code))
        {
            let from = merged_away(&event.body);
            self.customer = self.customers.remaining(&from, std::mem::take(&mut self.customer));
            self.merge(&from);
        } else {
            self.customer = self.customers.resolve(std::mem::take(&mut self.customer));
        }
        let takes = |wanted: &str| {
            self.manifest
                .handlers
                .iter()
                .position(|handler| handler.events.iter().any(|code| code == wanted))
        };
        if let Some(number) = takes(code).or_else(|| takes(ANY_EVENT)) {
            let handler = &self.manifest.handlers[number];
            let mut fields = Writer::default();
            let projected = projection::project(handler, &event.body, &mut fields);
            let reason = match (self.failed_condition(number, &fields), projected) {
                (None, Ok(())) => None,
                (Some(condition), _) => Some(format!("its condition `{condition}` did not match")),
                (None, Err(missing)) => Some(missing),
            };
            match reason {
                None => _ = self.call(number as u32, &fields),
                Some(reason) => {
                    self.outcome.notes.push(format!("`{}` was not called: {reason}", handler.name))
                }
            }
        }
        self.fire_until(self.now);
        self.end()
    }

    /// The text of a handler's condition, if these fields do not match it.
    fn failed_condition(&self, number: usize, fields: &Writer) -> Option<String> {
        let guard = self.guards.get(number)?.as_ref()?;
        let values = elements(fields.bytes()).unwrap_or_default();
        let answer = guard.answer(&values);
        let as_rust = self
            .instance
            .rule()
            .and_then(|rule| rule.condition(number as u32, Reader::new(fields.bytes())));
        assert_eq!(
            answer,
            as_rust,
            "the engine's result of `{}` differs from Rust's: this is a bug in hailer-sdk",
            guard.text()
        );
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

    /// Calls a handler for the current customer, and carries out its requests. Returns the numbers
    /// of the timers that it scheduled or cancelled.
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
                TimerRequest::Schedule(handler, when) => {
                    match when.resolve(self.now.as_millis(), &self.zone) {
                        Ok(due) => self.customers.schedule(
                            &self.customer,
                            handler,
                            Timestamp::from_millis(due),
                        ),
                        Err(error) => panic!("the rule scheduled {error}"),
                    }
                }
            }
        }
        self.outcome.add(called);
        requested
    }

    /// Merges the state and the timers of a customer into those of the current customer.
    fn merge(&mut self, from: &str) {
        let to = self.customer.clone();
        if from.is_empty() || from == to {
            return;
        }
        self.customers.redirect(from, &to);
        let (other, theirs) = (self.customers.take_state(from), self.customers.take_timers(from));
        let Some(number) = self.manifest.handlers.iter().position(|handler| handler.merge) else {
            // State and timers belong together: the result has those of one customer or those of
            // the other.
            if self.customers.state(&to).is_none() && self.customers.timers(&to).next().is_none() {
                other.into_iter().for_each(|state| self.customers.put_state(&to, state));
                theirs.into_iter().for_each(|timer| self.customers.inherit_timer(&to, timer));
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
            untouched.for_each(|timer| self.customers.inherit_timer(&to, timer));
        }
    }

    /// Moves the clock to `until`, and calls each timer that falls due at its due time.
    fn fire_until(&mut self, until: Timestamp) {
        let mut fired = 0;
        while let Some(Pending { customer, handler, due, .. }) = self.customers.take_due(until) {
            fired += 1;
            assert!(
                fired <= FIRED_MAX,
                "the rule's timers fire without end: each call schedules another at once"
            );
            self.now = self.now.max(due);
            self.customer = customer;
            let mut none = Writer::default();
            none.array(0);
            self.call(handler, &none);
        }
        self.now = self.now.max(until);
    }

    /// Moves the clock forward and calls the timers that fall due. Their outcomes together are the
    /// outcome of this step.
    pub fn advance(&mut self, span: Duration) -> &mut Self {
        self.begin();
        self.fire_until(self.now + span);
        self.end()
    }

    /// Sets the clock to a time in RFC 3339. A move forward is [`Self::advance`]; a move backward
    /// calls no timers.
    ///
    /// # Panics
    /// When the text is not a timestamp.
    #[track_caller]
    pub fn at(&mut self, moment: &str) -> &mut Self {
        match moment.parse::<Timestamp>() {
            Ok(moment) if moment > self.now => return self.advance(moment.since(self.now)),
            Ok(moment) => self.now = moment,
            Err(error) => panic!("{moment}: {error}"),
        }
        self
    }

    /// Sets the time zone of local times, by its name in a campaign file: `Europe/Moscow`.
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

    /// Puts the customer of the next events into a bucket: `ctx.bucket(salt)` is `number`.
    ///
    /// # Panics
    /// When the number is not below 100.
    #[track_caller]
    pub fn in_bucket(&mut self, salt: &str, number: u32) -> &mut Self {
        assert!(number < 100, "buckets go from 0 to 99");
        self.seed = (0..).find(|seed| bucket(*seed, salt) == number);
        self
    }

    /// The state of the customer of the last event; the default if no state is stored.
    ///
    /// # Panics
    /// When the state is of another type.
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

    /// All communications of the last step.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.outcome.sent
    }

    /// The notes of the last step.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.outcome.notes
    }

    /// The log lines of the last step.
    #[must_use]
    pub fn logs(&self) -> &[(Level, String)] {
        &self.logs
    }

    /// The rule's manifest, as the engine reads it from the module.
    #[must_use]
    pub fn manifest(&self) -> &str {
        R::MANIFEST
    }
}

/// Implemented for every rule, so that `with_params(…).unwrap_err()` does not require `R: Debug`.
impl<R> fmt::Debug for Scenario<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, now, outcome, .. } = self;
        let mut shown = formatter.debug_struct("Scenario");
        shown
            .field("rule", &manifest.name)
            .field("now", now)
            .field("outcome", outcome)
            .finish_non_exhaustive()
    }
}

fn manifest<R: Rule>() -> Manifest {
    serde_json::from_str(R::MANIFEST).expect("the macros write a manifest that hailer-abi can read")
}

/// The conditions that an engine would check before it calls the rule.
fn guards<R: Rule>(manifest: &Manifest, instance: &Instance<R>) -> Vec<Option<Guard>> {
    let mut params = Writer::default();
    if let Some(rule) = instance.rule() {
        rule.write_params(&mut params);
    }
    let guard = |handler: &hailer_abi::manifest::Handler| {
        let condition = handler.when.as_ref()?;
        if let Err(reason) = condition.check(&handler.fields, &manifest.params) {
            panic!("the condition of `{}`: {reason}: this is a bug in hailer-sdk", handler.name);
        }
        let guard = Guard::new(condition, &handler.fields, &manifest.params, params.bytes());
        Some(guard.expect("a checked condition matches the parameters it was checked with"))
    };
    manifest.handlers.iter().map(guard).collect()
}

/// The customer's seed. The engine uses other seeds; only that each customer has its own matters.
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
