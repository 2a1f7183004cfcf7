//! The rule set: the campaigns that run, the events that each takes, the fields to read from them,
//! and the policies. A rule set is built aside, never changed, and swapped as a whole. **An event
//! sees exactly one rule set (G8).**

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use hailer_abi::guard::{Guard, Test};
use hailer_abi::manifest::{ANY_EVENT, Handler};

use super::campaign::{Campaign, Mode, OnFault, Trial};
use super::condition_index::{Candidates, ConditionIndex};
use super::guards::{HandlerFields, TrackedFields};
use super::params::written;
use hailer_event::{CustomerKey, Plan, PlanBuilder, Projection, Slot, Unusable};
use hailer_policies::Policies;

/// All campaigns at one moment.
#[derive(Debug)]
pub struct RuleSet {
    /// The number of the rule set, which grows with every swap.
    pub number: u64,
    campaigns: Vec<Arc<Campaign>>,
    places: HashMap<Arc<str>, usize>,
    /// The first is that of codes that no handler names.
    readings: Vec<Reading>,
    /// The places of the others.
    by_code: HashMap<Box<str>, usize>,
    /// The first lane of each campaign, and at the end the number of lanes.
    lanes: Vec<usize>,
    /// The relation of each campaign to its canary.
    roles: Vec<CanaryRole>,
    /// The canaries that are not stopped, and whose campaigns are not stopped.
    canaries: Vec<usize>,
    /// The shadows that are not stopped.
    shadows: Vec<usize>,
    /// True for each campaign that is a shadow or has one.
    compared: Vec<bool>,
    /// The reason why each campaign is not called now; `None` if it is called.
    stops: Vec<Option<Stop>>,
    remembers: bool,
    policies: Option<Arc<Policies>>,
}

/// The reason why a loaded campaign is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An operator paused the campaign.
    Paused,
    /// The engine suspended the campaign.
    Suspended,
}

impl Stop {
    /// The name in metrics and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stop::Paused => "paused",
            Stop::Suspended => "suspended",
        }
    }
}

/// The relation of a campaign to a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryRole {
    /// The campaign is no canary and has none.
    Alone,
    /// While it runs, the canary with this index decides in place of the campaign for the customers
    /// of the canary's rollout.
    WithCanary(usize),
    /// The campaign is a canary. It decides in place of the campaign with this index for the
    /// customers of its rollout.
    CanaryOf(usize),
    /// The campaign is a canary whose campaign is not loaded or has another canary.
    Orphan,
}

/// The fields to read from the events of one code, and the handlers that take them.
#[derive(Debug)]
pub struct Reading {
    /// Its place among the readings of the rule set.
    pub number: usize,
    pub plan: Plan,
    pub subscriptions: Vec<Subscription>,
    index: ConditionIndex,
}

/// One handler of one campaign that takes an event code, or that a timer or a merge calls.
#[derive(Debug)]
pub struct Subscription {
    /// Index into [`RuleSet::campaigns`].
    pub campaign: usize,
    /// The handler's number on the wire.
    pub handler: u32,
    /// The lane in which a batch collects the calls. Each handler of each campaign has one,
    /// numbered from 0 on.
    pub lane: usize,
    /// The newest version of the state's shape that the rule reads; `None` if it has no state.
    pub state_version: Option<u32>,
    fields: Vec<FieldRead>,
    guard: Option<Arc<Guard>>,
    /// Whether the handler is not called if one of its fields is present and unusable.
    strict: bool,
}

/// A field that a handler reads.
#[derive(Debug)]
pub(super) struct FieldRead {
    pub(super) slot: Slot,
    required: bool,
    /// Another field of the handler that reads the same paths as another type, such as a time as
    /// text.
    twin: Option<Slot>,
}

impl FieldRead {
    /// The reason why the value is unusable in every type that the handler reads. `None` if it is
    /// usable or absent.
    pub(super) fn unusable(&self, projection: &Projection) -> Option<Unusable> {
        let has_twin = || self.twin.is_some_and(|twin| projection.get(twin).is_some());
        projection.unusable(self.slot).filter(|_| !has_twin())
    }
}

impl RuleSet {
    /// A rule set without rules.
    #[must_use]
    pub fn empty() -> RuleSet {
        RuleSet::build(Vec::new(), 0)
    }

    /// Builds the rule set of these campaigns. Campaigns that are off take no events.
    #[must_use]
    pub fn build(campaigns: Vec<Arc<Campaign>>, number: u64) -> RuleSet {
        RuleSet::with_stopped(
            campaigns.into_iter().map(|campaign| (campaign, None)).collect(),
            number,
        )
    }

    /// Builds a rule set in which some campaigns are stopped. These are not called, and the events
    /// that they would take count as missed.
    #[must_use]
    pub fn with_stopped(campaigns: Vec<(Arc<Campaign>, Option<Stop>)>, number: u64) -> RuleSet {
        let (campaigns, stops): (Vec<_>, Vec<_>) = campaigns.into_iter().unzip();
        let is_running = |place: &usize| stops[*place].is_none();
        let running = || (0..campaigns.len()).filter(is_running);
        let codes = campaigns
            .iter()
            .flat_map(|campaign| &campaign.spec.manifest.handlers)
            .flat_map(|handler| &handler.events);
        let names = campaigns.iter().enumerate();
        let places: HashMap<Arc<str>, usize> =
            names.map(|(place, campaign)| (Arc::clone(&campaign.spec.name), place)).collect();
        let roles = canary_roles(&campaigns, &places);
        let mut readings = vec![Reading::of_code(&campaigns, &roles, ANY_EVENT, 0)];
        let mut by_code: HashMap<Box<str>, usize> = HashMap::new();
        for code in codes.filter(|code| *code != ANY_EVENT) {
            if !by_code.contains_key(code.as_str()) {
                let number = readings.len();
                readings.push(Reading::of_code(&campaigns, &roles, code, number));
                by_code.insert(code.as_str().into(), number);
            }
        }
        let mut lanes = vec![0];
        lanes.extend(campaigns.iter().scan(0, |lanes, campaign| {
            *lanes += campaign.spec.manifest.handlers.len();
            Some(*lanes)
        }));
        let keeps = |place: usize| {
            let spec = &campaigns[place].spec;
            spec.manifest.remembers() || spec.on_fault == OnFault::Hold
        };
        let remembers = running().any(keeps);
        let shadows: Vec<usize> =
            running().filter(|place| campaigns[*place].spec.shadow().is_some()).collect();
        let trials = shadows.iter().filter_map(|place| campaigns[*place].spec.shadow());
        let mut compared: Vec<bool> =
            campaigns.iter().map(|campaign| campaign.spec.shadow().is_some()).collect();
        for original in trials.filter_map(|trial| places.get(&trial.of)) {
            compared[*original] = true;
        }
        let runs_as_canary = |place: &usize| match roles[*place] {
            CanaryRole::CanaryOf(of) => is_running(&of),
            _ => false,
        };
        let canaries = running().filter(runs_as_canary).collect();
        RuleSet {
            number,
            campaigns,
            places,
            readings,
            by_code,
            lanes,
            roles,
            canaries,
            shadows,
            compared,
            stops,
            remembers,
            policies: None,
        }
    }

    /// The same rule set under these policies; `None` for none.
    #[must_use]
    pub fn with_policies(self, policies: Option<Arc<Policies>>) -> RuleSet {
        let remembers =
            self.remembers || policies.as_ref().is_some_and(|policies| policies.remembers());
        RuleSet { remembers, policies, ..self }
    }

    /// The policies for what the campaigns propose; `None` if there are none.
    #[must_use]
    pub fn policies(&self) -> Option<&Arc<Policies>> {
        self.policies.as_ref()
    }

    /// The relation of a campaign to a canary.
    #[must_use]
    pub fn canary_role(&self, campaign: usize) -> CanaryRole {
        self.roles[campaign]
    }

    /// The reason why a campaign is not called; `None` if it is called.
    #[must_use]
    pub fn stop(&self, campaign: usize) -> Option<Stop> {
        self.stops.get(campaign).copied().flatten()
    }

    /// Every canary that is not stopped, and whose campaign is not stopped.
    pub fn canaries(&self) -> impl Iterator<Item = usize> {
        self.canaries.iter().copied()
    }

    /// Whether a campaign is a shadow or has one. Then the journal has hashes to compare what the
    /// two would send.
    #[must_use]
    pub fn is_compared(&self, campaign: usize) -> bool {
        self.compared[campaign]
    }

    /// Every shadow that is not stopped, with its trial.
    pub fn shadows(&self) -> impl Iterator<Item = (&Arc<Campaign>, &Trial)> {
        let campaigns = self.shadows.iter().map(|place| &self.campaigns[*place]);
        campaigns.filter_map(|campaign| Some((campaign, campaign.spec.shadow()?)))
    }

    /// Whether a running campaign decides for a customer. Of a campaign and its canary exactly one
    /// does. `runs` returns whether the other of the two runs. Its answer must not change while an
    /// event is decided.
    #[must_use]
    pub fn decides(
        &self,
        campaign: usize,
        customer: Option<CustomerKey>,
        runs: impl Fn(usize) -> bool,
    ) -> bool {
        match self.roles[campaign] {
            CanaryRole::Alone => self.campaigns[campaign].spec.is_for(customer),
            CanaryRole::WithCanary(canary) => {
                !(self.campaigns[canary].spec.is_for(customer) && runs(canary))
            }
            CanaryRole::CanaryOf(other) => {
                self.campaigns[campaign].spec.is_for(customer) && runs(other)
            }
            CanaryRole::Orphan => false,
        }
    }

    /// The campaign that decides about a timer or a failure of the campaign `name` for a customer:
    /// itself or its canary. `None` if no campaign has that name. The result may be a campaign that
    /// does not run.
    #[must_use]
    pub fn decider(
        &self,
        name: &str,
        customer: Option<CustomerKey>,
        runs: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let named = self.place(name)?;
        match self.roles[named] {
            CanaryRole::WithCanary(canary) if !self.decides(named, customer, runs) => Some(canary),
            _ => Some(named),
        }
    }

    /// The fields to read from events of a code, and the handlers that take them.
    #[must_use]
    pub fn reading(&self, code: &str) -> &Reading {
        &self.readings[self.by_code.get(code).copied().unwrap_or_default()]
    }

    /// All readings, by their numbers.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    #[must_use]
    pub fn campaigns(&self) -> &[Arc<Campaign>] {
        &self.campaigns
    }

    /// The place of the campaign with this name among [`Self::campaigns`].
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Whether anything is kept of a customer between events: the state of a rule, held events
    /// behind a failure, or what the policies keep.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// The number of lanes.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.last().copied().unwrap_or_default()
    }

    /// The handler that a campaign's timer of this name calls; `None` if the rule has no such
    /// timer.
    #[must_use]
    pub fn timer(&self, campaign: usize, name: &str) -> Option<Subscription> {
        self.without_event(campaign, |handler| handler.timer.as_deref() == Some(name))
    }

    /// The merge handler of a campaign's rule; `None` if it has none.
    #[must_use]
    pub fn merge(&self, campaign: usize) -> Option<Subscription> {
        self.without_event(campaign, |handler| handler.merge)
    }

    fn without_event(
        &self,
        campaign: usize,
        is_meant: impl Fn(&Handler) -> bool,
    ) -> Option<Subscription> {
        let manifest = &self.campaigns.get(campaign)?.spec.manifest;
        let handler = manifest.handlers.iter().position(is_meant)?;
        Some(Subscription {
            campaign,
            handler: handler as u32,
            lane: self.lanes[campaign] + handler,
            state_version: manifest.state_version,
            fields: Vec::new(),
            guard: None,
            strict: false,
        })
    }
}

impl Reading {
    fn of_code(
        campaigns: &[Arc<Campaign>],
        roles: &[CanaryRole],
        code: &str,
        number: usize,
    ) -> Reading {
        let mut plan = PlanBuilder::new();
        let mut subscriptions = Vec::new();
        let mut lane_first = 0;
        for (index, campaign) in campaigns.iter().enumerate() {
            let handlers = &campaign.spec.manifest.handlers;
            let taking = handler_of(handlers, code).filter(|_| campaign.spec.mode != Mode::Off);
            if let Some(handler) = taking {
                let declared = &handlers[handler].fields;
                let fields = declared.iter().map(|field| {
                    let twin = declared
                        .iter()
                        .find(|twin| twin.paths == field.paths && twin.kind != field.kind);
                    FieldRead {
                        slot: plan.add(field),
                        required: field.required,
                        twin: twin.map(|twin| plan.add(twin)),
                    }
                });
                let fields = fields.collect();
                let lane = lane_first + handler;
                let state_version = campaign.spec.manifest.state_version;
                subscriptions.push(Subscription {
                    campaign: index,
                    handler: handler as u32,
                    lane,
                    state_version,
                    fields,
                    guard: campaign.guards.get(handler).cloned().flatten(),
                    strict: handlers[handler].strict,
                });
            }
            lane_first += handlers.len();
        }
        // Whether another campaign decides for a customer is asked for each event.
        let is_for_all = |subscription: &&Subscription| {
            roles[subscription.campaign] == CanaryRole::Alone
                && campaigns[subscription.campaign].spec.rollout.is_none()
        };
        let tests = subscriptions
            .iter()
            .map(|subscription| Some(subscription).filter(is_for_all).and_then(Subscription::tests))
            .collect();
        Reading { number, plan: plan.build(), subscriptions, index: ConditionIndex::new(tests) }
    }

    /// The subscriptions whose conditions are indexed. Their campaigns decide for every customer.
    pub fn indexed(&self) -> impl ExactSizeIterator<Item = &Subscription> {
        self.index.indexed().iter().map(|place| &self.subscriptions[*place as usize])
    }

    /// Whether any condition is indexed.
    #[must_use]
    pub fn has_index(&self) -> bool {
        !self.index.indexed().is_empty()
    }

    /// Whether the subscription at a place is one of [`Self::indexed`].
    #[must_use]
    pub fn is_indexed(&self, place: usize) -> bool {
        self.index.is_indexed(place)
    }

    /// Finds the subscriptions whose conditions may be true for these fields; all others do not
    /// match. Those that [`Self::indexed`] lacks are always among them.
    pub fn find(&self, projection: &Projection, candidates: &mut Candidates) {
        self.index.find(projection, candidates);
    }
}

/// Finds the campaign of each canary.
fn canary_roles(campaigns: &[Arc<Campaign>], places: &HashMap<Arc<str>, usize>) -> Vec<CanaryRole> {
    let mut roles = vec![CanaryRole::Alone; campaigns.len()];
    for (index, campaign) in campaigns.iter().enumerate() {
        let Some(of) = campaign.spec.canary_of() else { continue };
        let other =
            places.get(of).copied().filter(|other| campaigns[*other].spec.canary_of().is_none());
        roles[index] = CanaryRole::Orphan;
        if let Some(other) = other.filter(|other| roles[*other] == CanaryRole::Alone) {
            (roles[index], roles[other]) =
                (CanaryRole::CanaryOf(other), CanaryRole::WithCanary(index));
        }
    }
    roles
}

/// The handler that takes a code: the one that names the code, else the one for any event.
fn handler_of(handlers: &[Handler], code: &str) -> Option<usize> {
    let takes = |wanted: &str| {
        handlers.iter().position(|handler| handler.events.iter().any(|event| event == wanted))
    };
    takes(code).or_else(|| takes(ANY_EVENT))
}

impl Subscription {
    /// Whether the fields of an event match the handler's condition. A handler without a condition
    /// always matches. If it does not match, the handler is not called, as if the event had another
    /// code.
    #[inline]
    #[must_use]
    pub fn matches(&self, projection: &Projection) -> bool {
        let handler = HandlerFields { fields: &self.fields, projection };
        self.guard.as_ref().is_none_or(|guard| guard.matches(&handler))
    }

    /// Tests of which at least one holds whenever the condition is true, with the slots of their
    /// fields; `None` if there are none.
    fn tests(&self) -> Option<Vec<(Slot, Test)>> {
        let with_slot = |test: Test| {
            let (Test::Text { field, .. } | Test::Bool { field, .. } | Test::Number { field, .. }) =
                &test;
            Some((self.fields.get(*field)?.slot, test))
        };
        self.guard.as_ref()?.tests()?.into_iter().map(with_slot).collect()
    }

    /// The text of the handler's condition; `None` if it has none.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        self.guard.as_deref().map(Guard::text)
    }

    /// The unusable field that leaves the condition neither true nor false; `None` if there is no
    /// such field. For a strict handler, even the presence of an unusable field is unknown.
    #[must_use]
    pub fn unusable_in_condition(&self, projection: &Projection) -> Option<Missing> {
        let handler = HandlerFields { fields: &self.fields, projection };
        let tracked = TrackedFields { handler, strict: self.strict, unusable: Cell::new(None) };
        let answer = self.guard.as_ref()?.answer(&tracked);
        tracked.unusable.get().filter(|_| answer.is_none())
    }

    /// The slots of the fields that the handler reads, in the order of the handler.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.fields.iter().map(|read| read.slot)
    }

    /// Writes the fields of a call in the order of the handler. If one is missing, it writes
    /// nothing.
    ///
    /// # Errors
    /// The first field that is required and missing. For a strict handler also the first field that
    /// is present and unusable.
    pub fn write_fields(
        &self,
        projection: &Projection,
        input: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        let missing = |(field, read): (usize, &FieldRead)| match projection.get(read.slot) {
            None if read.required => {
                Some(Missing { field, sub_field: None, unusable: projection.unusable(read.slot) })
            }
            None if self.strict => {
                let unusable = read.unusable(projection)?;
                Some(Missing { field, sub_field: None, unusable: Some(unusable) })
            }
            None => None,
            Some(_) => {
                let unusable = || projection.unusable_sub_field(read.slot).filter(|_| self.strict);
                let lack = projection.lacks(read.slot).or_else(unusable)?;
                Some(Missing { field, sub_field: Some(lack.sub_field), unusable: lack.unusable })
            }
        };
        if let Some(missing) = self.fields.iter().enumerate().find_map(missing) {
            return Err(missing);
        }
        written(rmp::encode::write_array_len(input, self.fields.len() as u32));
        for read in &self.fields {
            match projection.get(read.slot) {
                Some(value) => input.extend_from_slice(value),
                None => written(rmp::encode::write_nil(input)),
            }
        }
        Ok(())
    }
}

/// A missing field, because of which a handler is not called: the event does not have it, or its
/// value is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The index in the fields of the handler.
    pub field: usize,
    /// The index of the sub-field that an element of a list lacks. `None` if the field itself is
    /// missing.
    pub sub_field: Option<usize>,
    /// The reason why the value is unusable; `None` if it is absent.
    pub unusable: Option<Unusable>,
}

impl Missing {
    /// The name of the field in the manifest; `items.amount` for a sub-field of a list.
    #[must_use]
    pub fn name(&self, handler: &Handler) -> String {
        let Some(field) = handler.fields.get(self.field) else { return String::new() };
        match self.sub_field.and_then(|sub_field| field.of.get(sub_field)) {
            Some(sub_field) => format!("{}.{}", field.name, sub_field.name),
            None => field.name.clone(),
        }
    }
}
