//! Random policies hold over random events of a few customers. What was published is judged by a
//! checker that sees only the events and what was published (`policies_hold/checker.rs`).

mod checker;
mod setup;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::policies::send_on;
use super::*;
use crate::records::{Proposed, Verdict};
use checker::{Checker, Message};
use hailer_broker::communication::Communication;
use hailer_policies::Policies;
use setup::{ALARM, HOUR_MS, Happening, Setup, Story};

/// Everything of the events has an end this long after the last of them.
const AFTERWARDS_MS: Millis = 40 * 24 * HOUR_MS;

/// The verdicts that were seen, and how often. They show that the test tests something.
type Seen = RefCell<BTreeMap<String, usize>>;

/// The compiled campaigns. `beta` also sends a push three hours after the last purchase, and
/// `gamma` sends on statements about consent.
fn campaigns() -> &'static (Arc<Sandbox>, Vec<Arc<Campaign>>) {
    static COMPILED: LazyLock<(Arc<Sandbox>, Vec<Arc<Campaign>>)> = LazyLock::new(|| {
        let sandbox = Sandbox::new(Limits::default()).unwrap();
        let (mail, push, sms) = (Channel::Mail, Channel::Push, Channel::Sms);
        let timer = schedule(3 * HOUR_MS as u32);
        let consents = "OnCustomerSubscriptionChange";
        let actions = [
            (ALARM, PURCHASE, vec![send_on(mail, "x"), send_on(sms, "x")]),
            ("alpha", PURCHASE, vec![send_on(mail, "x"), send_on(push, "y")]),
            ("beta", PURCHASE, vec![send_on(sms, "x"), timer]),
            ("gamma", consents, vec![send_on(push, "x"), send_on(sms, "y")]),
        ];
        let campaign = |(name, on, purchase): (&str, _, _)| {
            let rule = Rule { purchase, merges: 2, on, ..nudging() };
            let first = Arc::clone(&rule.rules(&sandbox).campaigns()[0]);
            let spec = CampaignSpec { name: name.into(), ..first.spec.clone() };
            let compiled = sandbox.compile_here(&rule.module()).unwrap();
            Campaign::started(&sandbox, spec, compiled, 1).unwrap()
        };
        let campaigns = actions.into_iter().map(campaign).collect();
        (sandbox, campaigns)
    });
    &COMPILED
}

fn under(text: &str) -> DryRun {
    let policies = Policies::parse(text.as_bytes());
    let policies = policies.unwrap_or_else(|mistakes| panic!("{mistakes:?} in\n{text}"));
    let (sandbox, campaigns) = campaigns();
    let rules = RuleSet::build(campaigns.clone(), 1).with_policies(Some(Arc::new(policies)));
    dry_run(&Arc::new(rules), sandbox, Redirects::in_memory())
}

/// Runs a property over cases that are the same in each run. `PROPTEST_CASES` sets their number.
fn for_all<S: Strategy>(strategy: &S, holds: impl Fn(S::Value) -> Result<(), String>) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, random)
        .run(strategy, |value| holds(value).map_err(TestCaseError::fail));
    if let Err(wrong) = result {
        panic!("{wrong}");
    }
}

#[test]
fn published_messages_break_no_policy_and_none_is_held_back_without_a_reason() {
    let seen = Seen::default();
    for_all(&(setup::setup(), setup::story()), |(setup, story)| holds(&setup, &story, &seen));
    let seen = seen.into_inner();
    for (what, times) in [
        ("passed", 500),
        ("deferred", 200),
        ("released passed", 100),
        ("released deferred", 5),
        ("released consent-off", 3),
        ("released cap", 20),
        ("released stale", 1),
        ("consent-off", 100),
        ("consent-unknown", 200),
        ("control", 100),
        ("event-max", 100),
        ("quiet-hours", 200),
        ("cap", 500),
        ("cap of a merged customer", 20),
    ] {
        let count = seen.get(what).copied().unwrap_or_default();
        assert!(count >= times, "`{what}` only {count} times: {seen:#?}");
    }
}

/// Decides the events one by one, with and without the policies, and checks what was published in
/// between.
fn holds(setup: &Setup, story: &Story, seen: &Seen) -> Result<(), String> {
    let (mut free, mut held) = (under("time_zone = \"UTC\""), under(&setup.text()));
    let mut run = Run {
        checker: Checker::new(setup),
        setup,
        seen,
        proposed: BTreeMap::new(),
        controlled: BTreeSet::new(),
        written_to: BTreeSet::new(),
        merged: BTreeSet::new(),
    };
    let mut last = 0;
    for ((now, event), number) in story.timed().zip(1..) {
        let arrived = || [event.arrived(number, now)];
        let (free, held) = (free.decide(arrived(), 0).unwrap(), held.decide(arrived(), 0).unwrap());
        run.step(&free, &held, Some(event))?;
        if let Happening::Merged { to, .. } = event {
            run.merged.insert(*to);
        }
        last = now + AFTERWARDS_MS;
    }
    run.step(&free.advance(last).unwrap(), &held.advance(last).unwrap(), None)?;
    match run.controlled.intersection(&run.written_to).next() {
        Some(customer) => Err(format!("customer {customer} of a control group was written to")),
        None => Ok(()),
    }
}

struct Run<'a> {
    checker: Checker<'a>,
    setup: &'a Setup,
    seen: &'a Seen,
    /// By id, when a message was proposed.
    proposed: BTreeMap<String, Millis>,
    /// Customers whose messages a control group suppressed, and those who got messages of its
    /// campaigns.
    controlled: BTreeSet<u64>,
    written_to: BTreeSet<u64>,
    /// Customers who remained after a merge.
    merged: BTreeSet<u64>,
}

impl Run<'_> {
    /// Checks the decisions up to an event: `free` without policies, `held` under them. What the
    /// event says comes after everything that was due before, and before its own decision.
    fn step(
        &mut self,
        free: &[Decision],
        held: &[Decision],
        mut event: Option<&Happening>,
    ) -> Result<(), String> {
        let proposals: BTreeMap<String, Vec<(Message, u32)>> = free
            .iter()
            .map(|decision| (decision.event_id.to_string(), proposals(decision)))
            .collect();
        for decision in held {
            match &decision.cause {
                Cause::Release { .. } => self.released(decision)?,
                Cause::Event { .. } | Cause::Timer { .. } => {
                    if let Cause::Event { .. } = &decision.cause
                        && let Some(event) = event.take()
                    {
                        self.checker.see(event);
                    }
                    let proposals = &proposals[&decision.event_id.to_string()];
                    self.decided(decision, proposals)?;
                }
            }
        }
        if let Some(event) = event {
            self.checker.see(event);
        }
        Ok(())
    }

    fn released(&mut self, decision: &Decision) -> Result<(), String> {
        for outcome in &decision.outcomes {
            let Decided::Released { communications } = &outcome.decided else { panic!() };
            for released in communications {
                self.count("released ", &released.communication.verdict);
            }
        }
        for sent in &decision.communications {
            self.publish(Message::read(sent))?;
        }
        Ok(())
    }

    fn decided(&mut self, decision: &Decision, proposals: &[(Message, u32)]) -> Result<(), String> {
        let published: BTreeMap<String, Message> = decision
            .communications
            .iter()
            .map(Message::read)
            .map(|message| (message.id.clone(), message))
            .collect();
        // Judged by priority, name and place.
        let mut in_order: Vec<&(Message, u32)> = proposals.iter().collect();
        let priority =
            |name: &str| self.setup.campaign(name).map_or(0, |campaign| campaign.priority);
        in_order.sort_by_key(|(message, place)| {
            (-priority(&message.campaign), message.campaign.clone(), *place)
        });
        let mut before: BTreeSet<&str> = BTreeSet::new();
        for (message, place) in in_order {
            self.proposed.insert(message.id.clone(), message.at);
            let verdict = verdict(decision, &message.campaign, *place);
            self.count("", verdict);
            if let Some(sent) = published.get(&message.id) {
                self.publish(sent.clone())?;
            } else {
                self.is_held_back_with_reason(message, verdict, &before)?;
            }
            before.insert(&message.campaign);
        }
        match published.keys().find(|id| !self.proposed.contains_key(*id)) {
            Some(id) => Err(format!("{id} was published, and no rule proposed it")),
            None => Ok(()),
        }
    }

    fn is_held_back_with_reason(
        &mut self,
        message: &Message,
        verdict: &Verdict,
        before: &BTreeSet<&str>,
    ) -> Result<(), String> {
        let others = before.iter().filter(|name| **name != message.campaign && **name != ALARM);
        let is_one_too_many = self.setup.speaks_max.is_some_and(|max| others.count() >= max);
        let reasons = self.checker.reasons(message);
        let is_right = match verdict {
            Verdict::Suppressed(reason) if **reason == *"control" => {
                self.controlled.insert(message.customer);
                self.is_in_group(&message.campaign)
            }
            Verdict::Suppressed(reason) if **reason == *"event-max" => is_one_too_many,
            Verdict::Suppressed(reason) => {
                if **reason == *"cap" && self.merged.contains(&message.customer) {
                    self.add("cap of a merged customer");
                }
                !reasons.is_empty()
            }
            Verdict::Deferred { .. } => reasons.iter().any(|reason| reason.starts_with("quiet")),
            Verdict::Passed => false,
        };
        if is_right { Ok(()) } else { Err(format!("{verdict:?} without a reason: {message:?}")) }
    }

    fn publish(&mut self, message: Message) -> Result<(), String> {
        let Some(decided) = self.proposed.get(&message.id) else {
            return Err(format!("published, and not proposed: {message:?}"));
        };
        let mut reasons = self.checker.reasons(&message);
        if message.at - decided > self.setup.discard_hours * HOUR_MS {
            reasons.push("too old".to_owned());
        }
        if !reasons.is_empty() {
            return Err(format!("{reasons:?}, and published: {message:?}"));
        }
        if self.is_in_group(&message.campaign) {
            self.written_to.insert(message.customer);
        }
        self.checker.publish(message);
        Ok(())
    }

    fn is_in_group(&self, campaign: &str) -> bool {
        let concerned = |campaigns: &Option<Vec<&str>>| {
            campaigns.as_ref().is_none_or(|campaigns| campaigns.contains(&campaign))
        };
        campaign != ALARM && self.setup.control.as_ref().is_some_and(concerned)
    }

    fn count(&self, kind: &str, verdict: &Verdict) {
        let name = match verdict {
            Verdict::Passed => "passed",
            Verdict::Suppressed(reason) => reason,
            Verdict::Deferred { .. } => "deferred",
        };
        self.add(&format!("{kind}{name}"));
    }

    fn add(&self, what: &str) {
        *self.seen.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }
}

/// What the rules proposed on a case that was decided without policies, each with its place.
fn proposals(decision: &Decision) -> Vec<(Message, u32)> {
    let messages: BTreeMap<String, Message> = decision
        .communications
        .iter()
        .map(Message::read)
        .map(|message| (message.id.clone(), message))
        .collect();
    let mut all = Vec::new();
    for outcome in &decision.outcomes {
        for (one, place) in proposed(outcome).iter().zip(0..) {
            all.push((messages[&*one.id].clone(), place));
        }
    }
    all
}

fn proposed(outcome: &crate::records::Outcome) -> &[Proposed] {
    match &outcome.decided {
        Decided::Answered { communications, .. } => communications,
        other => panic!("{other:?}"),
    }
}

fn verdict<'a>(decision: &'a Decision, campaign: &str, place: u32) -> &'a Verdict {
    let outcome = decision.outcomes.iter().find(|outcome| *outcome.campaign == *campaign);
    &proposed(outcome.unwrap())[place as usize].verdict
}

#[test]
fn what_is_only_deferred_is_sent_once_and_nothing_is_lost_in_a_merge() {
    let released = RefCell::new(0);
    let only_deferring = setup::setup().prop_map(|setup| Setup {
        reads_zones: false,
        refuses_unknown: None,
        windows: setup
            .windows
            .into_iter()
            .take(1)
            .map(|window| setup::Window { defers: true, ..window })
            .collect(),
        discard_hours: 30,
        caps: Vec::new(),
        control: None,
        speaks_max: None,
        campaigns: setup
            .campaigns
            .into_iter()
            .map(|campaign| setup::CampaignSetup {
                quiet: campaign.quiet.filter(|choice| *choice != "drop"),
                ..campaign
            })
            .collect(),
        ..setup
    });
    for_all(&(only_deferring, setup::story()), |(setup, story)| {
        let sent = |text: &str| -> Vec<(String, u64)> {
            let mut dry_run = under(text);
            let mut last = 0;
            let mut sent = Vec::new();
            for ((now, event), number) in story.timed().zip(1..) {
                sent.extend(dry_run.decide([event.arrived(number, now)], 0).unwrap());
                last = now + AFTERWARDS_MS;
            }
            sent.extend(dry_run.advance(last).unwrap());
            let releases = sent.iter().filter(|one| matches!(one.cause, Cause::Release { .. }));
            *released.borrow_mut() += releases.count();
            let messages = sent.iter().flat_map(|decision| &decision.communications);
            let mut ids: Vec<_> =
                messages.map(Message::read).map(|one| (one.id, one.customer)).collect();
            ids.sort();
            ids
        };
        let ids = |sent: &[(String, u64)]| sent.iter().map(|(id, _)| id.clone()).collect();
        let (free, held) = (sent("time_zone = \"UTC\""), sent(&setup.text()));
        let (free, held): (Vec<String>, Vec<String>) = (ids(&free), ids(&held));
        if free == held { Ok(()) } else { Err(format!("without policies {free:?}, not {held:?}")) }
    });
    assert!(released.into_inner() > 200, "hardly anything was deferred");
}
