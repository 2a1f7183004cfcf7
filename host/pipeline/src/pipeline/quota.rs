//! Limits how many communications a campaign sends in an hour (`per_hour_max`), counted over all
//! shards. Communications beyond the limit are suppressed, and the campaign is suspended: either
//! the campaign or the limit is wrong.
//!
//! Hours are those of the clock. Counts are committed with the communications, so a restart
//! continues them. Resuming the campaign starts a new count.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::records::HourCount;
use hailer_base::clock::Millis;

const HOUR_MS: Millis = 3_600_000;

/// The counts of all campaigns that have a limit. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas(Arc<Mutex<HashMap<Arc<str>, Hour>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    number: Millis,
    /// The number of times the campaign was resumed in this hour after its hour was full.
    round: u32,
    sent: u32,
    /// The rule set in which the limit was reached. If a later rule set still has the campaign, it
    /// was resumed.
    full_in: Option<u64>,
}

/// One communication that was counted, or refused. It is committed with the communication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    campaign: Arc<str>,
    number: Millis,
    round: u32,
    pub(super) has_room: bool,
}

impl Quotas {
    /// Continues from the committed counts. A campaign whose hour was full, and that the rule set
    /// of the start contains, was not resumed.
    pub(super) fn new(committed: &BTreeMap<Arc<str>, HourCount>, rule_set: u64) -> Quotas {
        let hour = |count: &HourCount| Hour {
            number: count.number,
            round: count.round,
            sent: count.sent,
            full_in: count.is_full.then_some(rule_set),
        };
        let hours = committed.iter().map(|(campaign, count)| (Arc::clone(campaign), hour(count)));
        Quotas(Arc::new(Mutex::new(hours.collect())))
    }

    /// Whether one more communication fits under `max`, as far as is known now.
    pub(super) fn has_room(&self, campaign: &str, max: u32, now: Millis, rule_set: u64) -> bool {
        let hours = self.lock();
        let hour = hours.get(campaign).filter(|hour| hour.next(now, rule_set).is_none());
        hour.is_none_or(|hour| hour.sent < max)
    }

    /// Counts one communication at `now`, if it fits under `max`.
    pub(super) fn take(&self, campaign: &Arc<str>, max: u32, now: Millis, rule_set: u64) -> Taken {
        let mut hours = self.lock();
        let hour = hours.entry(Arc::clone(campaign)).or_default();
        if let Some(next) = hour.next(now, rule_set) {
            *hour = next;
        }
        let has_room = hour.sent < max;
        if has_room {
            hour.sent += 1;
        } else {
            hour.full_in.get_or_insert(rule_set);
        }
        Taken { campaign: Arc::clone(campaign), number: hour.number, round: hour.round, has_room }
    }

    /// Counts `count` communications at `now` if all of them fit. Otherwise it counts none and
    /// returns `None`, and the hour does not become full.
    pub(super) fn reserve(
        &self,
        campaign: &Arc<str>,
        max: u32,
        now: Millis,
        rule_set: u64,
        count: usize,
    ) -> Option<Vec<Taken>> {
        let mut hours = self.lock();
        let hour = hours.entry(Arc::clone(campaign)).or_default();
        if let Some(next) = hour.next(now, rule_set) {
            *hour = next;
        }
        let sent = u32::try_from(count).ok()?.checked_add(hour.sent).filter(|sent| *sent <= max)?;
        hour.sent = sent;
        let taken = Taken {
            campaign: Arc::clone(campaign),
            number: hour.number,
            round: hour.round,
            has_room: true,
        };
        Some(vec![taken; count])
    }

    /// Gives back reserved places that were not used.
    pub(super) fn give_back(&self, places: impl Iterator<Item = Taken>) {
        let mut hours = self.lock();
        for Taken { campaign, number, round, .. } in places {
            let hour = hours.get_mut(&campaign);
            if let Some(hour) = hour.filter(|hour| (hour.number, hour.round) == (number, round)) {
                hour.sent = hour.sent.saturating_sub(1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Hour>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hour {
    /// The hour to start, if the clock has passed into it or the campaign was resumed; `None` to
    /// continue this one. A shard may be one hour behind, and its communications count in this
    /// hour. If it is further behind, the clock was set back.
    fn next(&self, now: Millis, rule_set: u64) -> Option<Hour> {
        let number = now.div_euclid(HOUR_MS);
        if number > self.number || number + 1 < self.number {
            return Some(Hour { number, ..Hour::default() });
        }
        let is_resumed = self.full_in.is_some_and(|full_in| rule_set > full_in);
        is_resumed.then(|| Hour { number: self.number, round: self.round + 1, ..Hour::default() })
    }
}

impl Taken {
    /// Adds it to the committed counts. Another hour, or another round of it, starts a new count.
    /// An earlier hour or round is ignored.
    pub(super) fn count(self, committed: &mut BTreeMap<Arc<str>, HourCount>) {
        let Taken { campaign, number, round, has_room } = self;
        let count = committed.entry(campaign).or_default();
        let is_before =
            number + 1 == count.number || (number == count.number && round < count.round);
        if is_before {
            return;
        }
        if (count.number, count.round) != (number, round) {
            *count = HourCount { number, round, ..HourCount::default() };
        }
        count.sent += u32::from(has_room);
        count.is_full |= !has_room;
    }
}

/// Drops hours that are over, so that removed campaigns leave nothing behind.
pub(super) fn forget_before(committed: &mut BTreeMap<Arc<str>, HourCount>, now: Millis) {
    let number = now.div_euclid(HOUR_MS);
    committed.retain(|_, count| count.number + 1 >= number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_has_room_for_the_limit() {
        let quotas = Quotas::default();
        let name: Arc<str> = "welcome".into();
        let sent = |now| (0..10).filter(|_| quotas.take(&name, 3, now, 1).has_room).count();
        assert_eq!((sent(HOUR_MS), sent(2 * HOUR_MS - 1), sent(2 * HOUR_MS)), (3, 0, 3));
        assert_eq!(sent(HOUR_MS), 0, "a shard that is behind counts in the current hour");
        assert!(quotas.take(&"other".into(), 3, HOUR_MS, 1).has_room);
        assert_eq!(sent(90 * HOUR_MS), 3);
        assert_eq!(sent(2 * HOUR_MS), 3, "the clock was set back");
    }

    #[test]
    fn a_reservation_is_all_or_nothing_and_fills_no_hour() {
        let quotas = Quotas::default();
        let name: Arc<str> = "welcome".into();
        let reserve = |count| quotas.reserve(&name, 5, 0, 1, count).map(|taken| taken.len());
        assert_eq!(
            [reserve(3), reserve(3), reserve(2), reserve(1)],
            [Some(3), None, Some(2), None]
        );
        assert_eq!(quotas.lock()[&name].full_in, None);
    }

    #[test]
    fn a_resumed_campaign_has_room_again() {
        let quotas = Quotas::default();
        let name: Arc<str> = "welcome".into();
        let take = |rule_set| quotas.take(&name, 1, 0, rule_set).has_room;
        assert_eq!([take(4), take(4), take(4)], [true, false, false]);
        assert_eq!([take(6), take(6)], [true, false]);
    }

    /// Sends `times` times, with a restart after each.
    fn take_and_restart(
        committed: &mut BTreeMap<Arc<str>, HourCount>,
        now: Millis,
        rule_set: u64,
        times: u32,
    ) -> u32 {
        let name: Arc<str> = "welcome".into();
        let mut sent = 0;
        for _ in 0..times {
            let taken = Quotas::new(committed, rule_set).take(&name, 3, now, rule_set);
            sent += u32::from(taken.has_room);
            taken.count(committed);
        }
        sent
    }

    #[test]
    fn a_restart_lifts_no_limit_and_a_resume_does() {
        let mut committed = BTreeMap::new();
        assert_eq!(take_and_restart(&mut committed, HOUR_MS, 1, 10), 3);
        assert_eq!(take_and_restart(&mut committed, 2 * HOUR_MS, 1, 10), 3, "another hour");
        // The campaign was suspended, and the engine that resumes it has a later rule set.
        let quotas = Quotas::new(&committed, 1);
        let taken = quotas.take(&"welcome".into(), 3, 2 * HOUR_MS, 2);
        assert!(taken.has_room);
        taken.count(&mut committed);
        assert_eq!(take_and_restart(&mut committed, 2 * HOUR_MS, 2, 10), 2);
    }

    #[test]
    fn late_commits_of_an_earlier_round_are_ignored() {
        let (quotas, name, mut committed) =
            (Quotas::default(), Arc::<str>::from("welcome"), BTreeMap::new());
        let before = [quotas.take(&name, 1, 0, 1), quotas.take(&name, 1, 0, 1)];
        let after = quotas.take(&name, 1, 0, 2);
        after.count(&mut committed);
        before.into_iter().for_each(|taken| taken.count(&mut committed));
        assert_eq!(committed[&name], HourCount { number: 0, round: 1, sent: 1, is_full: false });
        forget_before(&mut committed, 2 * HOUR_MS);
        assert!(committed.is_empty());
    }
}
