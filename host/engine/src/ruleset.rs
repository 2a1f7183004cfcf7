//! The rules that run now: which campaigns, which events each takes, and what to read of those. Built off to the
//! side, never changed, swapped as a whole. **An event sees exactly one rule set (G8).**

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use hailer_abi::guard::Guard;
use hailer_abi::manifest::{ANY_EVENT, Handler};

use super::campaign::{Campaign, CampaignSpec, Mode, OnFault, Trial};
use super::guards::{Asked, Watched};
use hailer_event::{CustomerKey, Plan, PlanBuilder, Projection, Slot, Unusable};

/// Everything that runs.
#[derive(Debug)]
pub struct RuleSet {
    /// Counts up with every swap.
    pub number: u64,
    campaigns: Vec<Arc<Campaign>>,
    by_code: HashMap<Box<str>, Reading>,
    /// For codes that no handler names.
    any_other: Reading,
    /// The first lane of each campaign, and one more: how many lanes there are.
    lanes: Vec<usize>,
    /// One for each campaign.
    places: Vec<Place>,
    /// One for each campaign: it has a shadow beside it, or is one.
    compared: Vec<bool>,
    /// One for each campaign: why it is not called now.
    stops: Vec<Option<Stop>>,
    remembers: bool,
}

/// Why a campaign that is loaded is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An operator paused it.
    Paused,
    /// The engine suspended it.
    Suspended,
}

impl Stop {
    /// The name that metrics and operators see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stop::Paused => "paused",
            Stop::Suspended => "suspended",
        }
    }
}

/// Where a campaign stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Alone,
    /// The other decides in its place for the customers of its rollout, while it runs.
    WithCanary(usize),
    /// It decides in the place of the other for the customers of its rollout.
    CanaryOf(usize),
    /// A canary whose campaign does not run, or has another canary.
    Orphan,
}

/// What to read of the events of one code, and who asked.
#[derive(Debug)]
pub struct Reading {
    pub plan: Plan,
    pub subscriptions: Vec<Subscription>,
}

/// One handler of one campaign that takes a code, or that a timer or a merge calls.
#[derive(Debug)]
pub struct Subscription {
    /// Index into [`RuleSet::campaigns`].
    pub campaign: usize,
    /// The handler's number on the wire.
    pub handler: u32,
    /// One for each handler of each campaign, from 0 on: where a batch collects its calls.
    pub lane: usize,
    /// The newest version of the state's shape that the rule reads; `None` if it has no state.
    pub state_version: Option<u32>,
    fields: Vec<Wanted>,
    guard: Option<Arc<Guard>>,
    /// The handler is not called while a field of it can't be used.
    strict: bool,
}

/// A field that a handler reads.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) slot: Slot,
    required: bool,
    /// Another field of the handler that reads the same paths as another type, such as a time as it is written.
    twin: Option<Slot>,
}

impl Wanted {
    /// Why the handler can't be handed what stands there in any form that it reads. `None` also if nothing stands there.
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

    /// The rule set of these campaigns. Those that are off take no part.
    #[must_use]
    pub fn build(campaigns: Vec<Arc<Campaign>>, number: u64) -> RuleSet {
        RuleSet::with_stopped(campaigns.into_iter().map(|campaign| (campaign, None)).collect(), number)
    }

    /// The same with campaigns that are stopped: they are not called, and what they would take is known as missed.
    #[must_use]
    pub fn with_stopped(campaigns: Vec<(Arc<Campaign>, Option<Stop>)>, number: u64) -> RuleSet {
        let (campaigns, stops): (Vec<_>, Vec<_>) = campaigns.into_iter().unzip();
        let running = || campaigns.iter().zip(&stops).filter(|(_, stop)| stop.is_none()).map(|(campaign, _)| campaign);
        let codes =
            campaigns.iter().flat_map(|campaign| &campaign.spec.manifest.handlers).flat_map(|handler| &handler.events);
        let mut by_code: HashMap<Box<str>, Reading> = HashMap::new();
        for code in codes.filter(|code| *code != ANY_EVENT) {
            if !by_code.contains_key(code.as_str()) {
                by_code.insert(code.as_str().into(), Reading::of_code(&campaigns, code));
            }
        }
        let any_other = Reading::of_code(&campaigns, ANY_EVENT);
        let mut lanes = vec![0];
        lanes.extend(campaigns.iter().scan(0, |lanes, campaign| {
            *lanes += campaign.spec.manifest.handlers.len();
            Some(*lanes)
        }));
        let keeps =
            |campaign: &Arc<Campaign>| campaign.spec.manifest.remembers() || campaign.spec.on_fault == OnFault::Hold;
        let remembers = running().any(keeps);
        let places = places(&campaigns);
        let shadows: Vec<&Trial> = running().filter_map(|campaign| campaign.spec.shadow()).collect();
        let is_compared =
            |spec: &CampaignSpec| spec.shadow().is_some() || shadows.iter().any(|trial| trial.of == spec.name);
        let compared = campaigns.iter().map(|campaign| is_compared(&campaign.spec)).collect();
        RuleSet { number, campaigns, by_code, any_other, lanes, places, compared, stops, remembers }
    }

    /// Where a campaign stands among the others.
    #[must_use]
    pub fn place(&self, campaign: usize) -> Place {
        self.places[campaign]
    }

    /// Why a campaign is not called; `None` if it may be.
    #[must_use]
    pub fn stop(&self, campaign: usize) -> Option<Stop> {
        self.stops.get(campaign).copied().flatten()
    }

    /// Every canary that may be called, as may the campaign beside it.
    pub fn canaries(&self) -> impl Iterator<Item = usize> {
        let places = self.places.iter().enumerate();
        let may_run = |index: usize| self.stop(index).is_none();
        let is_canary = move |(index, place): &(usize, &Place)| matches!(place, Place::CanaryOf(of) if may_run(*of) && may_run(*index));
        places.filter(is_canary).map(|(index, _)| index)
    }

    /// Whether a campaign has a shadow beside it, or is one: then it is told apart what each of them would send.
    #[must_use]
    pub fn is_compared(&self, campaign: usize) -> bool {
        self.compared[campaign]
    }

    /// Every shadow that is compared with a campaign, and may be called.
    pub fn shadows(&self) -> impl Iterator<Item = (&Arc<Campaign>, &Trial)> {
        let running = self.campaigns.iter().zip(&self.stops).filter(|(_, stop)| stop.is_none());
        running.filter_map(|(campaign, _)| Some((campaign, campaign.spec.shadow()?)))
    }

    /// Whether a campaign that runs is the one that decides for a customer: of a campaign and its canary just one does. `runs` tells whether the other of the two
    /// runs; it must give one answer for as long as an event is decided.
    #[must_use]
    pub fn decides(&self, campaign: usize, customer: Option<CustomerKey>, runs: impl Fn(usize) -> bool) -> bool {
        match self.places[campaign] {
            Place::Alone => self.campaigns[campaign].spec.is_for(customer),
            Place::WithCanary(canary) => !(self.campaigns[canary].spec.is_for(customer) && runs(canary)),
            Place::CanaryOf(other) => self.campaigns[campaign].spec.is_for(customer) && runs(other),
            Place::Orphan => false,
        }
    }

    /// Who decides for a customer on what belongs to the campaign of that name: a timer, or a failure. It need not run.
    #[must_use]
    pub fn decider(&self, name: &str, customer: Option<CustomerKey>, runs: impl Fn(usize) -> bool) -> Option<usize> {
        let named = self.campaigns.iter().position(|campaign| *campaign.spec.name == *name)?;
        match self.places[named] {
            Place::WithCanary(canary) if !self.decides(named, customer, runs) => Some(canary),
            _ => Some(named),
        }
    }

    /// What to read of an event, and who takes it.
    #[must_use]
    pub fn reading(&self, code: &str) -> &Reading {
        self.by_code.get(code).unwrap_or(&self.any_other)
    }

    #[must_use]
    pub fn campaigns(&self) -> &[Arc<Campaign>] {
        &self.campaigns
    }

    /// Whether any campaign keeps something of a customer from one event to the next: its rule's state, or a queue behind a failure.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.last().copied().unwrap_or_default()
    }

    /// The handler that a campaign's timer calls, by the timer's name; `None` if the rule has no such timer.
    #[must_use]
    pub fn timer(&self, campaign: usize, name: &str) -> Option<Subscription> {
        self.without_event(campaign, |handler| handler.timer.as_deref() == Some(name))
    }

    /// The handler by which a campaign's rule unites two states, if it has one.
    #[must_use]
    pub fn merge(&self, campaign: usize) -> Option<Subscription> {
        self.without_event(campaign, |handler| handler.merge)
    }

    fn without_event(&self, campaign: usize, is_meant: impl Fn(&Handler) -> bool) -> Option<Subscription> {
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
    fn of_code(campaigns: &[Arc<Campaign>], code: &str) -> Reading {
        let mut plan = PlanBuilder::new();
        let mut subscriptions = Vec::new();
        let mut lane_first = 0;
        for (index, campaign) in campaigns.iter().enumerate() {
            let handlers = &campaign.spec.manifest.handlers;
            let taking = handler_of(handlers, code).filter(|_| campaign.spec.mode != Mode::Off);
            if let Some(handler) = taking {
                let declared = &handlers[handler].fields;
                let fields = declared.iter().map(|field| {
                    let twin = declared.iter().find(|twin| twin.paths == field.paths && twin.kind != field.kind);
                    Wanted { slot: plan.add(field), required: field.required, twin: twin.map(|twin| plan.add(twin)) }
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
        Reading { plan: plan.build(), subscriptions }
    }
}

/// Finds for each canary its campaign.
fn places(campaigns: &[Arc<Campaign>]) -> Vec<Place> {
    let mut places = vec![Place::Alone; campaigns.len()];
    for (index, campaign) in campaigns.iter().enumerate() {
        let Some(of) = campaign.spec.canary_of() else { continue };
        let other = campaigns.iter().position(|other| other.spec.name == *of && other.spec.canary_of().is_none());
        places[index] = Place::Orphan;
        if let Some(other) = other.filter(|other| places[*other] == Place::Alone) {
            (places[index], places[other]) = (Place::CanaryOf(other), Place::WithCanary(index));
        }
    }
    places
}

/// The handler that takes a code: the one that names it, else the one for any event.
fn handler_of(handlers: &[Handler], code: &str) -> Option<usize> {
    let takes = |wanted: &str| handlers.iter().position(|handler| handler.events.iter().any(|event| event == wanted));
    takes(code).or_else(|| takes(ANY_EVENT))
}

impl Subscription {
    /// Whether the handler's condition holds of an event's fields, as it does if there is none. One that does not match is not called: the event
    /// is not this campaign's, as if its code were another.
    #[inline]
    #[must_use]
    pub fn matches(&self, projection: &Projection) -> bool {
        let asked = Asked { fields: &self.fields, projection };
        self.guard.as_ref().is_none_or(|guard| guard.matches(&asked))
    }

    /// The handler's condition, if it has one, in words.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        self.guard.as_deref().map(Guard::text)
    }

    /// A field that the condition asked for and that is there, but can't be used, if the condition is neither true nor false for that. Whether such
    /// a field is there is unknown to a strict handler.
    #[must_use]
    pub fn unusable_in_condition(&self, projection: &Projection) -> Option<Missing> {
        let asked = Asked { fields: &self.fields, projection };
        let watched = Watched { asked, strict: self.strict, unusable: Cell::new(None) };
        let answer = self.guard.as_ref()?.answer(&watched);
        watched.unusable.get().filter(|_| answer.is_none())
    }

    /// The fields that the handler asks for: where each is, in the handler's order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.fields.iter().map(|wanted| wanted.slot)
    }

    /// Writes the fields of a call, in the handler's order. When one is missing it writes nothing.
    ///
    /// # Errors
    /// The first field that is required and missing or, if the handler is strict, that is there and can't be used.
    pub fn write_fields(&self, projection: &Projection, input: &mut Vec<u8>) -> Result<(), Missing> {
        let missing = |(field, wanted): (usize, &Wanted)| match projection.get(wanted.slot) {
            None if wanted.required => {
                Some(Missing { field, sub_field: None, unusable: projection.unusable(wanted.slot) })
            }
            None if self.strict => {
                let unusable = wanted.unusable(projection)?;
                Some(Missing { field, sub_field: None, unusable: Some(unusable) })
            }
            None => None,
            Some(_) => {
                let spoiled = || projection.spoiled(wanted.slot).filter(|_| self.strict);
                let lack = projection.lacks(wanted.slot).or_else(spoiled)?;
                Some(Missing { field, sub_field: Some(lack.sub_field), unusable: lack.unusable })
            }
        };
        if let Some(missing) = self.fields.iter().enumerate().find_map(missing) {
            return Err(missing);
        }
        write_array_header(self.fields.len(), input);
        for wanted in &self.fields {
            match projection.get(wanted.slot) {
                Some(value) => input.extend_from_slice(value),
                None => input.push(rmp::Marker::Null.to_u8()),
            }
        }
        Ok(())
    }
}

/// A field for want of which a handler is not called: the event does not have it, or has it in a way that can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The index in the handler's fields.
    pub field: usize,
    /// The sub-field that an element of the list lacks, by its index in the list's.
    pub sub_field: Option<usize>,
    pub unusable: Option<Unusable>,
}

impl Missing {
    /// The field's name in the handler's manifest: `items.amount` inside of a list.
    #[must_use]
    pub fn name(&self, handler: &Handler) -> String {
        let Some(field) = handler.fields.get(self.field) else { return String::new() };
        match self.sub_field.and_then(|sub_field| field.of.get(sub_field)) {
            Some(sub_field) => format!("{}.{}", field.name, sub_field.name),
            None => field.name.clone(),
        }
    }
}

pub(super) fn write_array_header(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short @ 0..16) => out.push(0x90 | short),
        _ => {
            out.push(rmp::Marker::Array16.to_u8());
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
}
