//! Compares the decisions of a campaign with those of its shadow, event by event.
//!
//! The caller adds the decisions of both in journal order, so the two decisions on one event are
//! adjacent. A timer has one journal entry for each of the two; the first waits here for the
//! second. The number of waiting decisions is bounded, and decisions beyond the bound are counted.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::decisions::{Decision, ProposedCommunication, RELEASED};

/// Maximum of waiting timer decisions, and of decisions that only the campaign has.
const WAITING_MAX: usize = 100_000;

/// Result of comparing a campaign with its shadow.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    pub campaign: Side,
    pub shadow: Side,
    /// Number of events and timers that both decided.
    pub compared: u64,
    pub alike: u64,
    /// The next five counters are the differences by kind.
    pub only_shadow_sends: u64,
    pub only_campaign_sends: u64,
    pub send_otherwise: u64,
    pub end_otherwise: u64,
    pub schedule_otherwise: u64,
    /// Number of the campaign's decisions without one of the shadow: decided before the shadow
    /// started, or without a communication.
    pub unpaired: u64,
    /// Number of decisions that were not compared, because too many were waiting.
    pub passed_over: u64,
    /// The first differences; within each partition of the store, the oldest first.
    pub differences: Vec<Difference>,
    #[serde(skip)]
    differences_max: usize,
    #[serde(skip)]
    now: Pair,
    #[serde(skip)]
    timers: HashMap<TimerName, Pair>,
    /// Decisions that only the campaign has. Whether they precede the shadow's start is known at
    /// the end.
    #[serde(skip)]
    alone: Vec<Decision>,
    #[serde(skip)]
    began: Option<Timestamp>,
}

/// Totals of the campaign or of the shadow.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    pub name: String,
    /// The version of the latest decision.
    pub version: String,
    pub decisions: u64,
    /// Number of decisions that asked for at least one communication.
    pub sends: u64,
    pub failed: u64,
}

/// The two differing decisions; `None` for the one that does not exist.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub how: DifferenceKind,
    pub campaign: Option<Decision>,
    pub shadow: Option<Decision>,
}

/// The difference between two decisions: the first variant that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    OnlyShadowSends,
    OnlyCampaignSends,
    /// The number of communications differs, or a channel, a template or the data.
    SendOtherwise,
    /// One decision is an answer and the other is not, or they failed, were skipped or are held
    /// differently.
    EndOtherwise,
    /// The sets of scheduled or cancelled timers differ.
    ScheduleOtherwise,
}

/// Identifies a timer: the customer's key, the timer's name, and its due time.
type TimerName = (Option<String>, String, Option<Timestamp>);

#[derive(Debug, Default)]
struct Pair {
    campaign: Option<Decision>,
    shadow: Option<Decision>,
}

impl Comparison {
    /// Starts the comparison of a campaign with its shadow, by name. Keeps at most
    /// `differences_max` whole differences; the counters count all of them.
    #[must_use]
    pub fn new(campaign: &str, shadow: &str, differences_max: usize) -> Comparison {
        let side = |name: &str| Side { name: name.to_owned(), ..Side::default() };
        Comparison {
            campaign: side(campaign),
            shadow: side(shadow),
            compared: 0,
            alike: 0,
            only_shadow_sends: 0,
            only_campaign_sends: 0,
            send_otherwise: 0,
            end_otherwise: 0,
            schedule_otherwise: 0,
            unpaired: 0,
            passed_over: 0,
            differences: Vec::new(),
            differences_max,
            now: Pair::default(),
            timers: HashMap::new(),
            alone: Vec::new(),
            began: None,
        }
    }

    /// Adds the next decision of the campaign or of the shadow.
    pub fn add(&mut self, decision: Decision) {
        // A release is no decision of the rule: the rule proposed the communication earlier.
        if decision.decision == RELEASED {
            return;
        }
        let is_shadow = decision.campaign == self.shadow.name;
        let side = if is_shadow { &mut self.shadow } else { &mut self.campaign };
        side.version.clone_from(&decision.version);
        side.decisions += 1;
        side.sends += u64::from(!decision.communications.is_empty());
        side.failed += u64::from(decision.decision == "failed");
        if is_shadow {
            self.began = Some(self.began.map_or(decision.at, |began| began.min(decision.at)));
        }
        if let Some(timer) = &decision.timer {
            let name = (decision.customer.clone(), timer.clone(), decision.due);
            if !self.timers.contains_key(&name) && self.timers.len() >= WAITING_MAX {
                self.passed_over += 1;
                return;
            }
            let pair = self.timers.entry(name.clone()).or_default();
            *pair.place(is_shadow) = Some(decision);
            if pair.is_whole() {
                let pair = self.timers.remove(&name).unwrap_or_default();
                self.compare(pair);
            }
            return;
        }
        if self.now.event() != Some(&decision.event_id) {
            let last = std::mem::take(&mut self.now);
            self.compare(last);
        }
        *self.now.place(is_shadow) = Some(decision);
    }

    /// Finishes the comparison after the last decision was added.
    #[must_use]
    pub fn finish(mut self) -> Comparison {
        let last = std::mem::take(&mut self.now);
        self.compare(last);
        let mut timers: Vec<Pair> = std::mem::take(&mut self.timers).into_values().collect();
        timers.sort_by(|one, other| one.order().cmp(&other.order()));
        timers.into_iter().for_each(|timer| self.compare(timer));
        for decision in std::mem::take(&mut self.alone) {
            if self.began.is_none_or(|began| decision.at < began) {
                self.unpaired += 1;
            } else {
                self.differ(Difference {
                    how: DifferenceKind::OnlyCampaignSends,
                    campaign: Some(decision),
                    shadow: None,
                });
            }
        }
        self
    }

    fn compare(&mut self, pair: Pair) {
        match (pair.campaign, pair.shadow) {
            (None, None) => {}
            (Some(campaign), None) if campaign.communications.is_empty() => self.unpaired += 1,
            (Some(campaign), None) if self.alone.len() < WAITING_MAX => self.alone.push(campaign),
            (Some(_), None) => self.passed_over += 1,
            (None, Some(shadow)) if shadow.communications.is_empty() => {}
            (None, Some(shadow)) => {
                self.differ(Difference {
                    how: DifferenceKind::OnlyShadowSends,
                    campaign: None,
                    shadow: Some(shadow),
                });
            }
            (Some(campaign), Some(shadow)) => {
                self.compared += 1;
                match how(&campaign, &shadow) {
                    None => self.alike += 1,
                    Some(how) => self.differ(Difference {
                        how,
                        campaign: Some(campaign),
                        shadow: Some(shadow),
                    }),
                }
            }
        }
    }

    fn differ(&mut self, difference: Difference) {
        let count = match difference.how {
            DifferenceKind::OnlyShadowSends => &mut self.only_shadow_sends,
            DifferenceKind::OnlyCampaignSends => &mut self.only_campaign_sends,
            DifferenceKind::SendOtherwise => &mut self.send_otherwise,
            DifferenceKind::EndOtherwise => &mut self.end_otherwise,
            DifferenceKind::ScheduleOtherwise => &mut self.schedule_otherwise,
        };
        *count += 1;
        if self.differences.len() < self.differences_max {
            self.differences.push(difference);
        }
    }
}

impl Pair {
    fn place(&mut self, is_shadow: bool) -> &mut Option<Decision> {
        if is_shadow { &mut self.shadow } else { &mut self.campaign }
    }

    fn is_whole(&self) -> bool {
        self.campaign.is_some() && self.shadow.is_some()
    }

    fn either(&self) -> Option<&Decision> {
        self.campaign.as_ref().or(self.shadow.as_ref())
    }

    fn event(&self) -> Option<&String> {
        self.either().map(|decision| &decision.event_id)
    }

    fn order(&self) -> Option<(Timestamp, &String)> {
        self.either().map(|decision| (decision.at, &decision.event_id))
    }
}

fn how(campaign: &Decision, shadow: &Decision) -> Option<DifferenceKind> {
    let (ours, theirs) = (&campaign.communications, &shadow.communications);
    if campaign.decision != shadow.decision {
        return Some(match (ours.is_empty(), theirs.is_empty()) {
            (true, false) => DifferenceKind::OnlyShadowSends,
            (false, true) => DifferenceKind::OnlyCampaignSends,
            _ => DifferenceKind::EndOtherwise,
        });
    }
    match (ours.is_empty(), theirs.is_empty()) {
        (true, false) => return Some(DifferenceKind::OnlyShadowSends),
        (false, true) => return Some(DifferenceKind::OnlyCampaignSends),
        _ => {}
    }
    let is_same = |(one, other): (&ProposedCommunication, &ProposedCommunication)| {
        // Decisions from before the shadow started have no data hash.
        let has_same_data =
            one.data_hash == other.data_hash || one.data_hash == 0 || other.data_hash == 0;
        one.channel == other.channel && one.template == other.template && has_same_data
    };
    if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(is_same) {
        return Some(DifferenceKind::SendOtherwise);
    }
    let timers = |decision: &Decision| {
        let mut timers = (decision.scheduled.clone(), decision.cancelled.clone());
        timers.0.sort();
        timers.1.sort();
        timers
    };
    (timers(campaign) != timers(shadow)).then_some(DifferenceKind::ScheduleOtherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(campaign: &str, event: &str, at: &str, sends: &[(&str, u64)]) -> Decision {
        let sent = |(template, data_hash): &(&str, u64)| ProposedCommunication {
            channel: "push".into(),
            template: (*template).to_owned(),
            verdict: "passed".into(),
            data_hash: *data_hash,
            ..ProposedCommunication::default()
        };
        Decision {
            at: format!("2026-03-01T{at}Z").parse().unwrap(),
            event_id: event.into(),
            customer: Some("c".into()),
            event_code: Some("OnPurchase".into()),
            timer: None,
            due: None,
            rule_set: 1,
            campaign: campaign.into(),
            version: "1".into(),
            decision: "answered".into(),
            reason: None,
            communications: sends.iter().map(sent).collect(),
            notes: Vec::new(),
            scheduled: Vec::new(),
            cancelled: Vec::new(),
            state_changed: false,
        }
    }

    fn compared(decisions: Vec<Decision>) -> Comparison {
        let mut comparison = Comparison::new("live", "next", 10);
        decisions.into_iter().for_each(|decision| comparison.add(decision));
        comparison.finish()
    }

    fn kinds(comparison: &Comparison) -> Vec<DifferenceKind> {
        comparison.differences.iter().map(|difference| difference.how).collect()
    }

    #[test]
    fn decisions_of_one_event_are_compared() {
        let at = "08:00:00";
        let comparison = compared(vec![
            decision("live", "1", at, &[("a", 7)]),
            decision("next", "1", at, &[("a", 7)]),
            decision("live", "2", at, &[]),
            decision("next", "2", at, &[("a", 7)]),
            decision("live", "3", at, &[("a", 7)]),
            decision("next", "3", at, &[("a", 8)]),
            decision("live", "4", at, &[("a", 7)]),
            decision("next", "4", at, &[]),
        ]);
        assert_eq!((comparison.compared, comparison.alike), (4, 1));
        assert_eq!(
            kinds(&comparison),
            [
                DifferenceKind::OnlyShadowSends,
                DifferenceKind::SendOtherwise,
                DifferenceKind::OnlyCampaignSends
            ]
        );
        assert_eq!((comparison.campaign.sends, comparison.shadow.sends), (3, 3));
    }

    #[test]
    fn released_messages_are_not_compared() {
        let released = |event: &str| Decision {
            decision: RELEASED.into(),
            ..decision("live", event, "08:00:00", &[("a", 7)])
        };
        // The event of a decision can cancel messages that were deferred before.
        let comparison = compared(vec![
            released("1"),
            decision("live", "1", "08:00:00", &[]),
            decision("next", "1", "08:00:00", &[]),
            released("2"),
        ]);
        assert_eq!((comparison.compared, comparison.alike), (1, 1));
        assert_eq!((comparison.campaign.decisions, comparison.campaign.sends), (1, 0));
        assert_eq!(kinds(&comparison), []);
    }

    #[test]
    fn decisions_before_the_shadow_started_are_no_differences() {
        let comparison = compared(vec![
            decision("live", "1", "08:00:00", &[("a", 0)]),
            decision("live", "2", "09:00:00", &[]),
            decision("next", "2", "09:00:00", &[]),
            decision("live", "3", "10:00:00", &[("a", 7)]),
        ]);
        assert_eq!((comparison.unpaired, comparison.alike), (1, 1));
        assert_eq!(kinds(&comparison), [DifferenceKind::OnlyCampaignSends]);
    }

    #[test]
    fn timers_of_both_are_paired_across_other_entries() {
        let timer = |campaign: &str, event: &str, sends: &[(&str, u64)]| {
            let decision = decision(campaign, event, "08:00:00", sends);
            Decision {
                timer: Some("nudge".into()),
                event_code: None,
                due: Some(decision.at),
                ..decision
            }
        };
        let comparison = compared(vec![
            timer("live", "t1", &[("a", 7)]),
            decision("live", "1", "08:00:00", &[]),
            decision("next", "1", "08:00:00", &[]),
            timer("next", "t2", &[("b", 7)]),
        ]);
        assert_eq!((comparison.compared, comparison.alike), (2, 1));
        assert_eq!(kinds(&comparison), [DifferenceKind::SendOtherwise]);
    }

    #[test]
    fn other_timers_and_failures_are_differences() {
        let at = "08:00:00";
        let comparison = compared(vec![
            Decision { scheduled: vec!["nudge".into()], ..decision("live", "1", at, &[]) },
            decision("next", "1", at, &[]),
            decision("live", "2", at, &[]),
            Decision { decision: "failed".into(), ..decision("next", "2", at, &[]) },
        ]);
        assert_eq!(
            kinds(&comparison),
            [DifferenceKind::ScheduleOtherwise, DifferenceKind::EndOtherwise]
        );
        assert_eq!(comparison.shadow.failed, 1);
    }
}
