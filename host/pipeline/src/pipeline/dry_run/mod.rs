//! A dry run decides events at once, in memory and without an engine, on a clock that the events
//! drive. `hailer test`, replays, and the examples inside a rule module use it.
//!
//! A dry run takes the engine's own path: identity, projection, the call in the real sandbox,
//! policies, states, timers, merges, and failures that are held or skipped. **A dry run has no
//! outside effect, and the same input gives the same decisions**, unless a call reaches its
//! deadline. A dry run publishes, commits, logs and counts nothing. Its decisions and their order
//! do not depend on how the input is split into calls, or on how many dry runs share the customers.
//!
//! A dry run differs from an engine in a few ways. It never suspends a campaign, so every fault
//! shows. It has no poison guard, and no limit on the deferred messages of all customers. It counts
//! `per_hour_max` on its own, so a caller that spreads customers over several dry runs removes that
//! limit from the campaigns first.

mod agenda;
mod decision;
mod runner;
#[cfg(test)]
mod tests;
mod wakeups;

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use foldhash::HashMap;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use crate::consents::Statement;
use crate::records::{CustomerRow, PendingTimer, StateRow};
use agenda::Agenda;
use hailer_base::clock::Millis;
use hailer_engine::{RuleSet, Sandbox};
use hailer_event::CustomerKey;
use hailer_store::StoreError;
use runner::{Runner, Task};
use wakeups::Wakeups;

pub use crate::pipeline::Redirects;
pub use runner::{Arrived, Decision, GivenProposal};

/// The most bytes of decisions between two merges if the dry run has a deadline (`gives_up`).
const HELD_BYTES_MAX: usize = 64 << 20;

/// The settings of a dry run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the environment, as communications carry it.
    pub environment: Arc<str>,
    /// One in so many calls runs again on a fresh instance, as a check; 0 means none.
    pub recheck_one_in: u32,
    /// The clock's first time, in milliseconds.
    pub begins: Millis,
    /// The deadline on the machine's clock; `None` for no deadline. With a deadline, a dry run
    /// fails once the deadline passes or its decisions take too many bytes. Meant for input that is
    /// not trusted.
    pub gives_up: Option<Instant>,
    /// The caller removes repeats and gives each event an id or a position of its own. The dry run
    /// then remembers no such event.
    pub are_distinct: bool,
}

/// The reasons for which a dry run stops.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "campaign `{campaign}`: its timer `{timer}` has fired {times} times for one customer \
         between two events; a timer that sets itself again has to stop at some time, or to wait \
         longer"
    )]
    Endless { campaign: String, timer: String, times: u32 },
    #[error("it takes too long")]
    GaveUp,
    #[error("it leads to more than {bytes_max} bytes of decisions at once")]
    TooMuch { bytes_max: usize },
}

/// A dry run: it decides for some customers as an engine would.
pub struct DryRun {
    runner: Runner,
    /// The time up to which everything has been decided, in milliseconds.
    clock: Millis,
    wakeups: Wakeups,
    repeats: u64,
    gives_up: Option<Instant>,
}

/// The row of one customer on its way from one dry run to another.
#[derive(Debug)]
pub struct Handover {
    customer: CustomerKey,
    row: CustomerRow,
}

impl DryRun {
    /// Starts a dry run of these rules, whose modules belong to `sandbox`. With a metered sandbox,
    /// decisions report the cost of every call. A caller that spreads customers over several dry
    /// runs gives all of them the same redirects.
    ///
    /// # Errors
    /// None is known: a dry run reads no store.
    pub fn new(
        rules: &Arc<RuleSet>,
        sandbox: &Arc<Sandbox>,
        settings: &Settings,
        redirects: Redirects,
    ) -> Result<DryRun, DryRunError> {
        let Settings { environment, recheck_one_in, begins, gives_up, are_distinct } = settings;
        let runner = quietly(|| {
            let recheck = *recheck_one_in;
            Runner::new(rules, sandbox, environment, recheck, redirects, *are_distinct)
        });
        Ok(DryRun {
            runner,
            clock: *begins,
            wakeups: Wakeups::default(),
            repeats: 0,
            gives_up: *gives_up,
        })
    }

    /// Imports a statement about a customer, as `hailer consent import` does. `replaces_zones` says
    /// whether its time zone replaces another one.
    ///
    /// # Errors
    /// None is known: a dry run reads no store.
    pub fn import(
        &mut self,
        statement: &Statement,
        replaces_zones: bool,
    ) -> Result<(), DryRunError> {
        Ok(self.runner.import(statement, replaces_zones)?)
    }

    /// Decides events in their order, and the timers that fall due before each event and up to
    /// `until`. An event earlier than the clock is decided at the clock's time. The decisions come
    /// back in the order of their times. At one time, the order is: due timers (by due time,
    /// customer, campaign and name), events, then timers set for a time already reached.
    ///
    /// # Errors
    /// When a timer sets itself again without end, the deadline passes, or the decisions take too
    /// many bytes.
    pub fn decide(
        &mut self,
        events: impl IntoIterator<Item = Arrived>,
        until: Millis,
    ) -> Result<Vec<Decision>, DryRunError> {
        self.decide_all(events.into_iter().map(|arrived| (arrived, &[][..])), until)
    }

    /// Decides one event as [`Self::decide`] does. On the event, campaigns propose these messages:
    /// those of one campaign in the given order. No rule needs to take the event.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn propose(
        &mut self,
        event: Arrived,
        proposals: &[GivenProposal],
    ) -> Result<Vec<Decision>, DryRunError> {
        let until = self.clock;
        self.decide_all([(event, proposals)], until)
    }

    fn decide_all<'given>(
        &mut self,
        events: impl IntoIterator<Item = (Arrived, &'given [GivenProposal])>,
        until: Millis,
    ) -> Result<Vec<Decision>, DryRunError> {
        quietly(|| {
            let mut decisions = Vec::new();
            let mut waiting = Vec::new();
            let mut latest = self.clock;
            for (mut arrived, proposals) in events {
                latest = latest.max(arrived.now);
                arrived.now = latest;
                let merge = arrived.merge();
                if merge.is_some() {
                    // A merge is decided alone, after everything before it. The customer of a later
                    // event depends on it.
                    self.run(std::mem::take(&mut waiting), latest, &mut decisions)?;
                }
                let Some(task) = self.runner.open(arrived)? else {
                    self.repeats += 1;
                    continue;
                };
                let task = self.runner.with_proposals(task, proposals);
                match merge {
                    None => waiting.push(task),
                    Some((from, to)) => {
                        let stays = task.customer().unwrap_or(to);
                        self.runner.decide(vec![task], &mut decisions)?;
                        self.settle([from, to, stays]);
                    }
                }
            }
            self.run(waiting, latest.max(until), &mut decisions)?;
            decisions.sort_by(Decision::in_order);
            Ok(decisions)
        })
    }

    /// Advances the clock to `until`, and decides the timers that fall due on the way.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn advance(&mut self, until: Millis) -> Result<Vec<Decision>, DryRunError> {
        self.decide([], until)
    }

    /// The clock's time, in milliseconds.
    #[must_use]
    pub fn clock(&self) -> Millis {
        self.clock
    }

    /// The number of events that were left out because they repeat an earlier event.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Campaigns whose rule gave two answers to the same call.
    #[must_use]
    pub fn impure(&self) -> &[Arc<str>] {
        self.runner.impure()
    }

    /// The state that a campaign keeps for a customer; `None` if it keeps none.
    #[must_use]
    pub fn state(&self, customer: CustomerKey, campaign: &str) -> Option<&StateRow> {
        self.runner.row(customer)?.campaign(campaign)?.state.as_ref()
    }

    /// The pending timers of a customer, each with its campaign.
    pub fn timers(
        &self,
        customer: CustomerKey,
    ) -> impl Iterator<Item = (&Arc<str>, &PendingTimer)> {
        let campaigns = self.runner.row(customer).map(CustomerRow::campaigns).unwrap_or_default();
        campaigns.iter().flat_map(|row| row.timers.iter().map(|timer| (&row.name, timer)))
    }

    /// Removes a customer's row, so that another dry run may take it in: two customers can merge
    /// only within one dry run. `None` if the dry run has no row of the customer.
    pub fn hand_over(&mut self, customer: CustomerKey) -> Option<Handover> {
        self.runner.take_row(customer).map(|row| Handover { customer, row })
    }

    /// Adds the row of a customer that another dry run has handed over.
    pub fn take_in(&mut self, Handover { customer, row }: Handover) {
        self.runner.put_row(customer, row);
        self.settle([customer]);
    }

    /// Decides events without a merge among them, and the timers that are due up to `until`.
    fn run(
        &mut self,
        events: Vec<Task>,
        until: Millis,
        decisions: &mut Vec<Decision>,
    ) -> Result<(), DryRunError> {
        let mut wave = Vec::new();
        let mut held_bytes = 0;
        let mut agendas: Vec<Agenda> = Vec::new();
        let mut places: HashMap<CustomerKey, usize> = HashMap::default();
        let mut customers = Vec::new();
        for task in events {
            match task.customer().filter(|_| self.runner.remembers()) {
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
            self.runner.load(*customer)?;
        }
        loop {
            let mut failed = None;
            agendas.retain_mut(|agenda| {
                match agenda.next(self.runner.row(agenda.customer()), until) {
                    Ok(task) => {
                        let has_more = task.is_some();
                        wave.extend(task);
                        has_more
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                        false
                    }
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if wave.is_empty() {
                break;
            }
            let before = decisions.len();
            self.runner.decide(std::mem::take(&mut wave), decisions)?;
            if let Some(moment) = self.gives_up {
                held_bytes += decisions[before..].iter().map(Decision::held_bytes).sum::<usize>();
                if held_bytes > HELD_BYTES_MAX {
                    return Err(DryRunError::TooMuch { bytes_max: HELD_BYTES_MAX });
                }
                if Instant::now() >= moment {
                    return Err(DryRunError::GaveUp);
                }
            }
        }
        self.clock = self.clock.max(until);
        self.settle(customers);
        Ok(())
    }

    fn settle(&mut self, customers: impl IntoIterator<Item = CustomerKey> + Clone) {
        for customer in customers.clone() {
            if let Some(due) = self.runner.row(customer).and_then(agenda::earliest) {
                self.wakeups.add(customer, due);
            }
        }
        self.runner.settle(customers, self.clock);
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DryRun").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Runs `work` without logs and without metrics of this process.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    /// A registered subscriber that drops everything. If the engine's subscriber were the only
    /// registered one, a log statement that runs here first would cache that it is off, for the
    /// engine as well.
    static NOBODY: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
    ::metrics::with_local_recorder(&::metrics::NoopRecorder, || {
        dispatcher::with_default(&NOBODY, work)
    })
}
