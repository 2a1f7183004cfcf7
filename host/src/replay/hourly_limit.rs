//! Applies `per_hour_max` in the order of all decisions, and suppresses communications beyond it.
//! An engine would then suspend the campaign; a replay reports the time and continues.
//!
//! A deferred communication takes its place in the hour in which it is deferred, as in an engine.
//! One beyond the limit is in the dry run's row all the same, so its release is removed here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Millis;
use crate::dry_run::Decision;
use crate::engine::RuleSet;
use crate::event::EventId;
use crate::policies::Reason;
use crate::records::{Decided, Released, Verdict};

const HOUR_MS: Millis = 3_600_000;

/// The campaigns with a limit.
#[derive(Debug, Default)]
pub(super) struct HourlyLimits {
    campaigns: HashMap<Arc<str>, HourlyLimit>,
    /// Deferred communications beyond a limit whose releases are still to come, each with how often
    /// it was proposed.
    refused: HashMap<RefusedDeferral, u32>,
}

/// A deferred communication: the event or timer's firing, the campaign, the channel's number on the
/// wire, and the template.
type RefusedDeferral = (EventId, Arc<str>, u8, Box<str>);

#[derive(Debug)]
struct HourlyLimit {
    max: u32,
    /// The campaign under which deferred communications are kept: for a canary, the one that it
    /// acts for.
    acts_for: Arc<str>,
    number: Millis,
    sent: u32,
    full_at: Option<Millis>,
}

impl HourlyLimits {
    pub(super) fn new(rules: &RuleSet) -> HourlyLimits {
        let limited = rules.campaigns().iter().filter_map(|campaign| {
            let max = campaign.spec.per_hour_max?;
            let acts_for = Arc::clone(campaign.spec.acts_for());
            Some((
                Arc::clone(&campaign.spec.name),
                HourlyLimit { max, acts_for, number: 0, sent: 0, full_at: None },
            ))
        });
        HourlyLimits { campaigns: limited.collect(), refused: HashMap::new() }
    }

    /// Suppresses communications beyond the limits.
    pub(super) fn apply(&mut self, decisions: &mut [Decision]) {
        if self.campaigns.is_empty() {
            return;
        }
        for decision in decisions {
            self.remove_refused(decision);
            let Decision { outcomes, communications, now, event_id, .. } = decision;
            for outcome in outcomes {
                let Some(hour) = self.campaigns.get_mut(&outcome.campaign) else { continue };
                let Decided::Answered { communications: proposed, .. } = &mut outcome.decided
                else {
                    continue;
                };
                for one in proposed {
                    let is_deferred = matches!(one.verdict, Verdict::Deferred { .. });
                    if !(is_deferred || one.verdict == Verdict::Passed) || hour.takes(*now) {
                        continue;
                    }
                    if is_deferred {
                        let name = Arc::clone(&hour.acts_for);
                        let refused = (*event_id, name, one.channel, one.template.clone());
                        *self.refused.entry(refused).or_default() += 1;
                    } else {
                        communications.retain(|communication| communication.id != one.id);
                    }
                    one.verdict = Verdict::Suppressed(Reason::PerHourMax.name().into());
                    (one.id, one.policy, one.detail) = ("".into(), None, None);
                }
            }
        }
    }

    /// Removes from a decision what became of deferred communications beyond a limit.
    fn remove_refused(&mut self, decision: &mut Decision) {
        if self.refused.is_empty() {
            return;
        }
        let Decision { outcomes, communications, .. } = decision;
        for outcome in &mut *outcomes {
            let Decided::Released { communications: released } = &mut outcome.decided else {
                continue;
            };
            released.retain(|Released { event, communication: one, .. }| {
                let name = Arc::clone(&outcome.campaign);
                let refused = (*event, name, one.channel, one.template.clone());
                let Some(count) = self.refused.get_mut(&refused) else { return true };
                // A communication that is deferred again has another release to come.
                if !matches!(one.verdict, Verdict::Deferred { .. }) {
                    *count -= 1;
                    if *count == 0 {
                        self.refused.remove(&refused);
                    }
                }
                communications.retain(|communication| communication.id != one.id);
                false
            });
        }
        let is_empty = |decided: &Decided| match decided {
            Decided::Released { communications } => communications.is_empty(),
            _ => false,
        };
        outcomes.retain(|outcome| !is_empty(&outcome.decided));
    }

    /// The campaigns that reached their limit, and the time when an engine would have suspended
    /// them.
    pub(super) fn full(&self) -> Vec<(Arc<str>, Millis)> {
        self.campaigns
            .iter()
            .filter_map(|(campaign, hour)| Some((Arc::clone(campaign), hour.full_at?)))
            .collect()
    }
}

impl HourlyLimit {
    fn takes(&mut self, now: Millis) -> bool {
        let number = now.div_euclid(HOUR_MS);
        if number > self.number {
            (self.number, self.sent) = (number, 0);
        }
        if self.sent < self.max {
            self.sent += 1;
            return true;
        }
        self.full_at.get_or_insert(now);
        false
    }
}
