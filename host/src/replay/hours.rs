//! `per_hour_max`, in the order of everybody's decisions: what comes on top does not go out. An engine would suspend the campaign then; a replay says when, and goes on.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Millis;
use crate::engine::RuleSet;
use crate::policies::Suppression;
use crate::records::{Decided, Verdict};
use crate::rehearsal::Decision;

const HOUR_MS: Millis = 3_600_000;

/// The campaigns that have a maximum.
#[derive(Debug, Default)]
pub(super) struct Hours(HashMap<Arc<str>, Hour>);

#[derive(Debug)]
struct Hour {
    max: u32,
    number: Millis,
    sent: u32,
    full_at: Option<Millis>,
}

impl Hours {
    pub(super) fn new(rules: &RuleSet) -> Hours {
        let limited = rules.campaigns().iter().filter_map(|campaign| {
            let max = campaign.spec.per_hour_max?;
            Some((Arc::clone(&campaign.spec.name), Hour { max, number: 0, sent: 0, full_at: None }))
        });
        Hours(limited.collect())
    }

    /// Takes back what is too much.
    pub(super) fn judge(&mut self, decisions: &mut [Decision]) {
        if self.0.is_empty() {
            return;
        }
        for decision in decisions {
            let Decision { outcomes, communications, now, .. } = decision;
            for outcome in outcomes {
                let Some(hour) = self.0.get_mut(&outcome.campaign) else { continue };
                let Decided::Answered { communications: proposed, .. } = &mut outcome.decided else { continue };
                for one in proposed.iter_mut().filter(|one| one.verdict == Verdict::Passed) {
                    if !hour.takes(*now) {
                        communications.retain(|communication| communication.id != one.id);
                        one.verdict = Verdict::Suppressed(Suppression::PerHourMax.name().into());
                        one.id = "".into();
                    }
                }
            }
        }
    }

    /// When a campaign would have been suspended.
    pub(super) fn full(&self) -> Vec<(Arc<str>, Millis)> {
        self.0.iter().filter_map(|(campaign, hour)| Some((Arc::clone(campaign), hour.full_at?))).collect()
    }
}

impl Hour {
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
