//! The agenda of one customer in a dry run: the events in their order, and between them the timers
//! that fall due as the clock advances. It hands out one task at a time, because each task may set
//! or cancel a timer.

use std::collections::VecDeque;

use super::DryRunError;
use super::runner::{Task, Turn};
use crate::records::{CustomerRow, PendingTimer, TimerKey};
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;

/// The most timers of one customer that may fire between two of the customer's events. A timer that
/// sets itself again every hour reaches the limit of 100 000 after eleven years.
const FIRINGS_MAX: u32 = if cfg!(test) { 20_000 } else { 100_000 };

#[derive(Debug)]
pub(super) struct Agenda {
    customer: CustomerKey,
    /// The time up to which everything of the customer has been decided, in milliseconds.
    clock: Millis,
    events: VecDeque<Task>,
    /// Timers that fire together at `clock`.
    firing: VecDeque<TimerKey>,
    /// The number of rounds at `clock` whose timers were set for a time already reached.
    late_rounds: u32,
    firings: u32,
}

impl Agenda {
    pub(super) fn new(customer: CustomerKey, clock: Millis) -> Agenda {
        Agenda {
            customer,
            clock,
            events: VecDeque::new(),
            firing: VecDeque::new(),
            late_rounds: 0,
            firings: 0,
        }
    }

    pub(super) fn customer(&self) -> CustomerKey {
        self.customer
    }

    pub(super) fn add(&mut self, event: Task) {
        self.events.push_back(event);
    }

    /// The next task, given the customer's current row. `None` if nothing is left up to `until`.
    pub(super) fn next(
        &mut self,
        row: Option<&CustomerRow>,
        until: Millis,
    ) -> Result<Option<Task>, DryRunError> {
        loop {
            while let Some(timer) = self.firing.pop_front() {
                if row.is_some_and(|row| is_pending(row, &timer)) {
                    self.count(&timer)?;
                    let turn = if self.late_rounds > 0 {
                        Turn::LateTimer(self.late_rounds)
                    } else {
                        Turn::Timer
                    };
                    return Ok(Some(Task::timer(timer, self.clock, turn)));
                }
            }
            let target = self.events.front().map_or(until, Task::now);
            // A timer set for a time already reached waits until the clock advances.
            if self.clock >= target {
                self.firings = 0;
                return Ok(self.events.pop_front());
            }
            match row.and_then(earliest).filter(|due| *due <= target) {
                Some(due) if due > self.clock => (self.clock, self.late_rounds) = (due, 0),
                Some(_) => self.late_rounds += 1,
                None => (self.clock, self.late_rounds) = (target, 0),
            }
            self.firing =
                row.map(|row| due_by(row, self.customer, self.clock)).unwrap_or_default().into();
        }
    }

    fn count(&mut self, timer: &TimerKey) -> Result<(), DryRunError> {
        self.firings += 1;
        if self.firings <= FIRINGS_MAX {
            return Ok(());
        }
        let (campaign, timer) = (timer.campaign.to_string(), timer.timer.to_string());
        Err(DryRunError::Endless { campaign, timer, times: FIRINGS_MAX })
    }
}

/// The earliest time at which the engine looks at one of the customer's timers or deferred
/// messages; `None` without any.
pub(super) fn earliest(row: &CustomerRow) -> Option<Millis> {
    let releases = row.deferred.iter().map(|message| message.due);
    timers(row).map(|(_, timer)| timer.looked_at).chain(releases).min()
}

fn timers(row: &CustomerRow) -> impl Iterator<Item = (&str, &PendingTimer)> {
    row.campaigns()
        .iter()
        .flat_map(|campaign| campaign.timers.iter().map(|timer| (&*campaign.name, timer)))
}

/// The timers that are due at `moment` or before, in key order.
fn due_by(row: &CustomerRow, customer: CustomerKey, moment: Millis) -> Vec<TimerKey> {
    let due = timers(row).filter(|(_, timer)| timer.looked_at <= moment);
    let mut due: Vec<TimerKey> =
        due.map(|(campaign, timer)| TimerKey::of(customer, campaign, timer)).collect();
    let releases = row.deferred.iter().map(|message| message.due).filter(|due| *due <= moment);
    due.extend(releases.map(|due| TimerKey::release(customer, due)));
    due.sort_unstable();
    due.dedup();
    due
}

fn is_pending(row: &CustomerRow, timer: &TimerKey) -> bool {
    if timer.is_release() {
        return row.deferred.iter().any(|message| message.due == timer.due);
    }
    let pending = row.campaign(&timer.campaign).and_then(|row| row.timer(&timer.timer));
    pending.is_some_and(|pending| pending.looked_at == timer.due)
}
