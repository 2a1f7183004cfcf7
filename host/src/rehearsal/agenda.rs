//! What one customer has before them: events in their order, and between them the timers that the clock meets on its way. Taken one at a time, as
//! each may set a timer, or cancel one.

use std::collections::VecDeque;

use super::RehearsalError;
use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::pipeline::rehearse::{Task, Turn};
use crate::records::{CustomerRow, PendingTimer, TimerKey};

/// So often the timers of one customer may fire between two of their events. A timer that sets itself anew each hour does so in eleven years.
const FIRINGS_MAX: u32 = if cfg!(test) { 20_000 } else { 100_000 };

#[derive(Debug)]
pub(super) struct Agenda {
    customer: CustomerKey,
    /// Everything of the customer up to this moment has been decided.
    clock: Millis,
    events: VecDeque<Task>,
    /// Timers that fire together, as of the clock.
    firing: VecDeque<TimerKey>,
    /// So many rounds of timers have been set for a moment that had come already.
    late_rounds: u32,
    firings: u32,
}

impl Agenda {
    pub(super) fn new(customer: CustomerKey, clock: Millis) -> Agenda {
        Agenda { customer, clock, events: VecDeque::new(), firing: VecDeque::new(), late_rounds: 0, firings: 0 }
    }

    pub(super) fn customer(&self) -> CustomerKey {
        self.customer
    }

    pub(super) fn add(&mut self, event: Task) {
        self.events.push_back(event);
    }

    /// What comes next, by what is kept about the customer now; `None` if there is nothing up to `until`.
    pub(super) fn next(&mut self, row: Option<&CustomerRow>, until: Millis) -> Result<Option<Task>, RehearsalError> {
        loop {
            while let Some(timer) = self.firing.pop_front() {
                if row.is_some_and(|row| is_pending(row, &timer)) {
                    self.count(&timer)?;
                    let turn = if self.late_rounds > 0 { Turn::LateTimer(self.late_rounds) } else { Turn::Timer };
                    return Ok(Some(Task::timer(timer, self.clock, turn)));
                }
            }
            let target = self.events.front().map_or(until, Task::now);
            // A timer that is set for a moment that has come already waits until the clock goes on.
            if self.clock >= target {
                self.firings = 0;
                return Ok(self.events.pop_front());
            }
            match row.and_then(earliest).filter(|due| *due <= target) {
                Some(due) if due > self.clock => (self.clock, self.late_rounds) = (due, 0),
                Some(_) => self.late_rounds += 1,
                None => (self.clock, self.late_rounds) = (target, 0),
            }
            self.firing = row.map(|row| due_by(row, self.customer, self.clock)).unwrap_or_default().into();
        }
    }

    fn count(&mut self, timer: &TimerKey) -> Result<(), RehearsalError> {
        self.firings += 1;
        if self.firings <= FIRINGS_MAX {
            return Ok(());
        }
        let (campaign, timer) = (timer.campaign.to_string(), timer.timer.to_string());
        Err(RehearsalError::Endless { campaign, timer, times: FIRINGS_MAX })
    }
}

/// When the first of a customer's timers is to be looked at.
pub(super) fn earliest(row: &CustomerRow) -> Option<Millis> {
    timers(row).map(|(_, timer)| timer.looked_at).min()
}

fn timers(row: &CustomerRow) -> impl Iterator<Item = (&str, &PendingTimer)> {
    row.campaigns().iter().flat_map(|campaign| campaign.timers.iter().map(|timer| (&*campaign.name, timer)))
}

/// The timers that are due by then, in their order.
fn due_by(row: &CustomerRow, customer: CustomerKey, moment: Millis) -> Vec<TimerKey> {
    let due = timers(row).filter(|(_, timer)| timer.looked_at <= moment);
    let mut due: Vec<TimerKey> = due.map(|(campaign, timer)| TimerKey::of(customer, campaign, timer)).collect();
    due.sort_unstable();
    due
}

fn is_pending(row: &CustomerRow, timer: &TimerKey) -> bool {
    let pending = row.campaign(&timer.campaign).and_then(|row| row.timer(&timer.timer));
    pending.is_some_and(|pending| pending.looked_at == timer.due)
}
