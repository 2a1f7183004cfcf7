//! Deciding without an engine: events in, decisions out, at once, in memory, on a clock that the events tell. For `hailer test`, for replays, and
//! for the examples that a module brings along.
//!
//! The path is the engine's own: identity, projection, the call in the real sandbox, policies, states, timers, merges, failures held or skipped.
//! **Nothing of a rehearsal leaves it, and the same input gives the same decisions**: it publishes, commits, logs and counts nothing, and what it decides
//! and in which order does not depend on how the input is cut into calls, or over how many rehearsals its customers are spread.
//!
//! Two things an engine does that a rehearsal does not: no campaign is suspended, so that every fault is seen; and `per_hour_max` is counted for
//! each rehearsal on its own, so whoever spreads customers over several takes it out of their campaigns first.

mod agenda;
mod decision;
#[cfg(test)]
mod tests;
mod wakeups;

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use foldhash::HashMap;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use crate::clock::Millis;
use crate::engine::{RuleSet, Sandbox};
use crate::event::CustomerKey;
use crate::pipeline::rehearse::{Decider, Task};
use crate::records::{CustomerRow, PendingTimer, StateRow};
use crate::store::StoreError;
use agenda::Agenda;
use wakeups::Wakeups;

pub use crate::pipeline::Redirects;
pub use crate::pipeline::rehearse::{Arrived, Decision};

/// What strangers' events may lead to between two events of a caller, in bytes.
const HELD_BYTES_MAX: usize = 64 << 20;

/// How a rehearsal is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What communications name.
    pub environment: Arc<str>,
    /// One in so many calls runs again on a fresh instance; 0 means none.
    pub recheck_one_in: u32,
    /// What the clock shows at first.
    pub begins: Millis,
    /// By the machine's clock: what is not decided by then is not decided at all; nor is what comes behind more than can be held. For what comes
    /// from strangers.
    pub gives_up: Option<Instant>,
    /// The caller sorts copies out and gives each event an id or a place of its own, so no event is remembered here.
    pub are_told_apart: bool,
}

/// Why a rehearsal can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "campaign `{campaign}`: its timer `{timer}` has fired {times} times for one customer between two events; a timer that sets \
         itself again has to stop at some time, or to wait longer"
    )]
    Endless { campaign: String, timer: String, times: u32 },
    #[error("it takes too long")]
    GaveUp,
    #[error("it leads to more than {bytes_max} bytes of decisions at once")]
    TooMuch { bytes_max: usize },
}

/// An engine's worth of deciding, for some customers.
pub struct Rehearsal {
    decider: Decider,
    /// Everything up to this moment has been decided.
    clock: Millis,
    wakeups: Wakeups,
    repeats: u64,
    gives_up: Option<Instant>,
}

/// What a rehearsal knows of one customer, on its way to another rehearsal.
#[derive(Debug)]
pub struct Handover {
    customer: CustomerKey,
    row: CustomerRow,
}

impl Rehearsal {
    /// A rehearsal of these rules, whose modules belong to `sandbox`. Of a metered one every call's cost is told. Whoever spreads customers over
    /// several rehearsals gives all of them the same redirects.
    ///
    /// # Errors
    /// None that a rehearsal is known to have: it reads no store.
    pub fn new(
        rules: &Arc<RuleSet>,
        sandbox: &Arc<Sandbox>,
        settings: &Settings,
        redirects: Redirects,
    ) -> Result<Rehearsal, RehearsalError> {
        let Settings { environment, recheck_one_in, begins, gives_up, are_told_apart } = settings;
        let decider = quietly(|| Decider::new(rules, sandbox, environment, *recheck_one_in, redirects))?;
        let decider = decider.of_events_told_apart(*are_told_apart);
        Ok(Rehearsal { decider, clock: *begins, wakeups: Wakeups::default(), repeats: 0, gives_up: *gives_up })
    }

    /// Decides events in their order, and the timers that the clock meets on the way to each and on to `until`. An event of a moment before the
    /// clock's is decided as of the clock. What is decided comes back in the order of its moments: timers that were due (by their due time, then by
    /// customer, campaign and name), then events, then timers that were set for a moment that had come already.
    ///
    /// # Errors
    /// When a timer sets itself again without end.
    pub fn decide(
        &mut self,
        events: impl IntoIterator<Item = Arrived>,
        until: Millis,
    ) -> Result<Vec<Decision>, RehearsalError> {
        quietly(|| {
            let mut decisions = Vec::new();
            let mut waiting = Vec::new();
            let mut latest = self.clock;
            for mut arrived in events {
                latest = latest.max(arrived.now);
                arrived.now = latest;
                let merge = arrived.merge();
                if merge.is_some() {
                    // Decided alone, when all before it is; and whom an event behind it means depends on it.
                    self.run(std::mem::take(&mut waiting), latest, &mut decisions)?;
                }
                let Some(task) = self.decider.open(arrived)? else {
                    self.repeats += 1;
                    continue;
                };
                match merge {
                    None => waiting.push(task),
                    Some((from, to)) => {
                        let stays = task.customer().unwrap_or(to);
                        self.decider.decide(vec![task], &mut decisions)?;
                        self.settle([from, to, stays]);
                    }
                }
            }
            self.run(waiting, latest.max(until), &mut decisions)?;
            decisions.sort_by(Decision::in_order);
            Ok(decisions)
        })
    }

    /// Lets the clock go on, and the timers on the way fire.
    ///
    /// # Errors
    /// When a timer sets itself again without end.
    pub fn advance(&mut self, until: Millis) -> Result<Vec<Decision>, RehearsalError> {
        self.decide([], until)
    }

    /// What the clock shows.
    #[must_use]
    pub fn clock(&self) -> Millis {
        self.clock
    }

    /// Events that had been decided before.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Campaigns whose rule gave two answers to one call.
    #[must_use]
    pub fn impure(&self) -> &[Arc<str>] {
        self.decider.impure()
    }

    /// What a campaign keeps about a customer.
    #[must_use]
    pub fn state(&self, customer: CustomerKey, campaign: &str) -> Option<&StateRow> {
        self.decider.row(customer)?.campaign(campaign)?.state.as_ref()
    }

    /// A customer's timers that have not fired, by campaign.
    pub fn timers(&self, customer: CustomerKey) -> impl Iterator<Item = (&Arc<str>, &PendingTimer)> {
        let campaigns = self.decider.row(customer).map(CustomerRow::campaigns).unwrap_or_default();
        campaigns.iter().flat_map(|row| row.timers.iter().map(|timer| (&row.name, timer)))
    }

    /// Takes a customer out, so that another rehearsal may take them in: two who are merged have to be in one.
    pub fn hand_over(&mut self, customer: CustomerKey) -> Option<Handover> {
        self.decider.take_row(customer).map(|row| Handover { customer, row })
    }

    /// Takes a customer in.
    pub fn take_in(&mut self, Handover { customer, row }: Handover) {
        self.decider.put_row(customer, row);
        self.settle([customer]);
    }

    /// Decides events of which none is a merge, and the timers up to a moment.
    fn run(&mut self, events: Vec<Task>, until: Millis, decisions: &mut Vec<Decision>) -> Result<(), RehearsalError> {
        let mut wave = Vec::new();
        let mut held_bytes = 0;
        let mut agendas: Vec<Agenda> = Vec::new();
        let mut places: HashMap<CustomerKey, usize> = HashMap::default();
        let mut customers = Vec::new();
        for task in events {
            match task.customer().filter(|_| self.decider.remembers()) {
                None => wave.push(task),
                Some(customer) => {
                    let place = *places.entry(customer).or_insert_with(|| {
                        customers.push(customer);
                        agendas.push(Agenda::new(customer, self.clock));
                        agendas.len() - 1
                    });
                    agendas[place].add(task);
                }
            }
        }
        while let Some(customer) = self.wakeups.next(until) {
            places.entry(customer).or_insert_with(|| {
                customers.push(customer);
                agendas.push(Agenda::new(customer, self.clock));
                agendas.len() - 1
            });
        }
        for customer in &customers {
            self.decider.load(*customer)?;
        }
        loop {
            let mut failed = None;
            agendas.retain_mut(|agenda| match agenda.next(self.decider.row(agenda.customer()), until) {
                Ok(task) => {
                    let has_more = task.is_some();
                    wave.extend(task);
                    has_more
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if wave.is_empty() {
                break;
            }
            let before = decisions.len();
            self.decider.decide(std::mem::take(&mut wave), decisions)?;
            if let Some(moment) = self.gives_up {
                held_bytes += decisions[before..].iter().map(Decision::held_bytes).sum::<usize>();
                if held_bytes > HELD_BYTES_MAX {
                    return Err(RehearsalError::TooMuch { bytes_max: HELD_BYTES_MAX });
                }
                if Instant::now() >= moment {
                    return Err(RehearsalError::GaveUp);
                }
            }
        }
        self.clock = self.clock.max(until);
        self.settle(customers);
        Ok(())
    }

    fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey> + Clone) {
        for customer in customers.clone() {
            if let Some(due) = self.decider.row(customer).and_then(agenda::earliest) {
                self.wakeups.add(customer, due);
            }
        }
        self.decider.settle(customers, self.clock);
    }
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rehearsal").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Nothing that is done meanwhile is logged, or counted among what an engine in this process does.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    /// One that is registered: while there is none but the engine's own, a place in the code that logs for the first time asks the thread's alone
    /// whether anybody listens, and is silent ever after, in the engine as well.
    static NOBODY: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
    ::metrics::with_local_recorder(&::metrics::NoopRecorder, || dispatcher::with_default(&NOBODY, work))
}
