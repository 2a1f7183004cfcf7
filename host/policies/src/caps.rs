//! Caps: how often a customer was written to in a span of time.
//!
//! **Everything that one campaign sends on one event counts once per cap and window.** An entry
//! later than `now` counts, too: the clock was set back, and the customer has the message.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Span as CalendarSpan, civil::Date};

use super::model::{Cap, Policies, Span};
use super::row::{Counted, PolicyRow};
use super::zone::{first_moment, wall_clock};
use hailer_base::clock::Millis;
use hailer_event::EventId;

const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// A row keeps this many of its newest entries for caps to come, if they are not too old.
const SPARE_MAX: usize = 32;

/// How old the entries for caps to come may be, in ms.
const SPARE_MS: Millis = 31 * DAY_MS;

/// How far a cap is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage<'row> {
    /// The number of dispatches in the cap's window, without the one that is judged.
    pub others: usize,
    /// The start of the window, in ms since 1970. It is excluded if the window is rolling, else
    /// included.
    pub since: Millis,
    /// The newest of these dispatches; `None` if there is none.
    pub last: Option<&'row Counted>,
}

impl Cap {
    /// Counts the dispatches in the cap's window at the moment `now`, in ms since 1970. The
    /// messages of the campaign `mine.1` on the event `mine.0` are left out.
    #[must_use]
    pub fn usage<'row>(
        &self,
        row: &'row PolicyRow,
        mine: Option<(EventId, &str)>,
        zone: &TimeZone,
        now: Millis,
    ) -> Usage<'row> {
        let since = self.per.since(zone, now);
        let entries = match self.per {
            Span::Rolling(_) => row.later_than(since),
            Span::Day | Span::Week | Span::Month => row.later_than(since.saturating_sub(1)),
        };
        let counts =
            |entry: &&Counted| self.counts(entry) && mine.is_none_or(|mine| !entry.is_of(mine));
        let newest = |(at, entry): &(usize, &'row Counted)| {
            let mut later = entries[at + 1..].iter().filter(counts);
            !later.any(|later| later.is_of(entry.dispatch()))
        };
        let all = || entries.iter().enumerate().filter(|(_, entry)| counts(entry));
        let last = all().next_back().map(|(_, entry)| entry);
        Usage { others: all().filter(newest).count(), since, last }
    }

    /// The usage if the cap is reached, else `None`. The calendar is read only if the row has
    /// enough entries in the longest possible window.
    pub(crate) fn reached<'row>(
        &self,
        row: &'row PolicyRow,
        mine: (EventId, &str),
        zone: &TimeZone,
        now: Millis,
    ) -> Option<Usage<'row>> {
        let entries = row.later_than(now.saturating_sub(self.per.longest_ms())).iter();
        let others = entries.filter(|entry| self.counts(entry) && !entry.is_of(mine)).count();
        if others < self.max as usize {
            return None;
        }
        Some(self.usage(row, Some(mine), zone, now))
            .filter(|usage| usage.others >= self.max as usize)
    }

    /// Whether the cap counts an entry.
    fn counts(&self, entry: &Counted) -> bool {
        self.channels.meets(entry.channels)
            && self.campaigns.as_ref().is_none_or(|names| names.contains(&*entry.campaign))
    }
}

impl Span {
    /// The start of the span that ends at `now`, in ms since 1970.
    fn since(self, zone: &TimeZone, now: Millis) -> Millis {
        let first_day = |day: fn(Date) -> Date| {
            first_moment(zone, day(wall_clock(zone, now).date()).at(0, 0, 0, 0))
        };
        match self {
            Span::Rolling(span_ms) => now.saturating_sub(span_ms),
            Span::Day => first_day(|today| today),
            Span::Week => first_day(monday_of),
            Span::Month => first_day(Date::first_of_month),
        }
    }

    /// The longest time for which the span may reach back, in ms. A day with a change of the clock
    /// is longer than 24 hours.
    fn longest_ms(self) -> Millis {
        match self {
            Span::Rolling(span_ms) => span_ms,
            Span::Day => 2 * DAY_MS,
            Span::Week => 8 * DAY_MS,
            Span::Month => 32 * DAY_MS,
        }
    }
}

fn monday_of(date: Date) -> Date {
    let days = date.weekday().to_monday_zero_offset();
    date.checked_sub(CalendarSpan::new().days(days)).unwrap_or(date)
}

impl Counted {
    fn dispatch(&self) -> (EventId, &str) {
        (self.event, &self.campaign)
    }

    fn is_of(&self, dispatch: (EventId, &str)) -> bool {
        self.dispatch() == dispatch
    }
}

impl PolicyRow {
    /// The entries later than a moment.
    fn later_than(&self, moment: Millis) -> &[Counted] {
        &self.counted[self.counted.partition_point(|entry| entry.at <= moment)..]
    }

    /// The name of a campaign, shared with the row's entries of the same one.
    pub(crate) fn shared_name(&self, campaign: &str) -> Arc<str> {
        let known = self.counted.iter().rev().find(|entry| *entry.campaign == *campaign);
        known.map_or_else(|| Arc::from(campaign), |known| Arc::clone(&known.campaign))
    }

    /// Counts a message. The messages of one dispatch and moment share an entry.
    pub(crate) fn count(&mut self, sent: Counted) {
        let place = self.counted.partition_point(|entry| entry.at <= sent.at);
        let same = self.counted[..place]
            .iter_mut()
            .rev()
            .take_while(|entry| entry.at == sent.at)
            .find(|entry| entry.dispatch() == sent.dispatch());
        match same {
            Some(entry) => sent.channels.iter().for_each(|channel| entry.channels.insert(channel)),
            None => self.counted.insert(place, sent),
        }
    }

    /// Adds the entries of a customer who was merged into this one.
    pub(crate) fn unite_counted(&mut self, gone: Vec<Counted>) {
        gone.into_iter().for_each(|sent| self.count(sent));
    }

    /// Removes the entries that no cap needs from `now` on, so no verdict changes. The newest 32
    /// entries of 31 days stay for caps to come. Returns whether the row changed.
    pub fn prune(&mut self, policies: &Policies, now: Millis) -> bool {
        let entries = &self.counted;
        let spare = self.later_than(now.saturating_sub(SPARE_MS)).len().min(SPARE_MAX);
        if spare == entries.len() {
            return false;
        }
        let mut keeps = vec![false; entries.len()];
        keeps[entries.len() - spare..].fill(true);
        for cap in &policies.caps {
            cap.mark_needed(self, now, &mut keeps);
        }
        let mut keeps = keeps.into_iter();
        let before = entries.len();
        self.counted.retain(|_| keeps.next().unwrap_or(true));
        self.counted.len() < before
    }
}

impl Cap {
    /// Marks the newest dispatches that the cap may still count, each by its newest entry. They are
    /// one more than the cap's `max`, because the one that is judged does not count.
    fn mark_needed(&self, row: &PolicyRow, now: Millis, needed: &mut [bool]) {
        let entries = &row.counted;
        let old = entries.len() - row.later_than(now.saturating_sub(self.per.longest_ms())).len();
        let mut newest: Vec<(EventId, &str)> = Vec::new();
        for (entry, needed) in entries[old..].iter().zip(&mut needed[old..]).rev() {
            if newest.len() > self.max as usize {
                break;
            }
            if self.counts(entry) && !newest.contains(&entry.dispatch()) {
                newest.push(entry.dispatch());
                *needed = true;
            }
        }
    }
}
