//! Every step of a judgement with its facts, for people who ask what the policies would say.
//!
//! A step that suppresses or defers a message has the verdict of the judgement's own functions. So
//! an explanation cannot differ from what the engine does.

use super::{At, Candidate, Judge, Suppression, Verdict};
use crate::consent::Answer;
use crate::facts::Facts;
use crate::model::{Policies, QuietChoice};
use crate::reason::Reason;
use crate::row::PolicyRow;
use crate::zone::shown_moment;
use hailer_base::clock::Millis;
use hailer_base::wording::shown;
use jiff::tz::TimeZone;

/// One step of a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the step; that of its reason, and `consent` for both reasons about consent.
    pub name: &'static str,
    /// The name of the cap, the quiet hours or the control group; `None` for other steps.
    pub policy: Option<Box<str>>,
    pub result: StepResult,
    /// The facts on which the result depends, in plain words for one line of output.
    pub facts: String,
}

/// The result of one step. The verdict is that of the first step that does not let the message
/// pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepResult {
    Passes,
    Suppresses,
    Defers,
    /// The step does not concern the campaign, because it is transactional.
    Exempt,
}

impl Step {
    fn passes(name: &'static str, facts: impl Into<String>) -> Step {
        Step { name, policy: None, result: StepResult::Passes, facts: facts.into() }
    }

    /// The step of a policy with a name.
    fn of(self, policy: &str) -> Step {
        Step { policy: Some(policy.into()), ..self }
    }

    fn suppresses(name: &'static str, facts: impl Into<String>) -> Step {
        Step { result: StepResult::Suppresses, ..Step::passes(name, facts) }
    }

    fn exempt(name: &'static str) -> Step {
        Step { result: StepResult::Exempt, ..Step::passes(name, "the campaign is transactional") }
    }
}

impl Judge<'_> {
    /// Every step of judging a message that was just proposed, in the order of the judgement, also
    /// those behind the step that decides. What else is proposed on the event is not known here.
    #[must_use]
    pub fn explain(&self, row: Option<&PolicyRow>, candidate: &Candidate<'_>) -> Vec<Step> {
        let mut steps = vec![
            match candidate.is_live {
                true => Step::passes(Reason::Shadow.name(), "the campaign is live"),
                false => Step::suppresses(Reason::Shadow.name(), "the campaign is not live"),
            },
            match candidate.recipient {
                Some(_) => {
                    Step::passes(Reason::NoRecipient.name(), "the customer is known by an id")
                }
                None => Step::suppresses(Reason::NoRecipient.name(), "there is no customer"),
            },
        ];
        let (Some(policies), Some(zone)) = (self.policies, self.zone.as_deref()) else {
            return steps;
        };
        steps.push(self.allow_list(candidate));
        let campaign = policies.campaign(candidate.campaign);
        if campaign.is_transactional {
            let exempt = [
                CONSENT,
                Reason::Control.name(),
                Reason::EventMax.name(),
                Reason::QuietHours.name(),
                Reason::Cap.name(),
            ];
            steps.extend(exempt.map(Step::exempt));
            return steps;
        }
        let facts = Facts { policies, zone, now: self.now, row, candidate, campaign };
        steps.push(facts.consent_step());
        steps.extend(facts.control_steps());
        steps.push(event_max(policies, campaign.priority));
        steps.push(facts.quiet_step(self.now));
        steps.extend(facts.cap_steps());
        steps
    }

    fn allow_list(&self, candidate: &Candidate<'_>) -> Step {
        let name = Reason::NotListed.name();
        match self.allow_list {
            None => Step::passes(name, "the environment has no allow list"),
            Some(_) if self.is_listed(candidate) => {
                Step::passes(name, "the environment's allow list has the customer")
            }
            Some(_) => Step::suppresses(name, "the environment's allow list lacks the customer"),
        }
    }
}

/// The name of the step about consent.
const CONSENT: &str = "consent";

fn event_max(policies: &Policies, priority: i32) -> Step {
    let facts = match policies.event_campaigns_max {
        None => "any number of campaigns may speak on one event".to_owned(),
        Some(max) => {
            format!("{max} may speak on one event; this one has the priority {priority}")
        }
    };
    Step::passes(Reason::EventMax.name(), facts)
}

/// The step of a verdict that does not let the message pass.
fn decided(name: &'static str, verdict: Verdict, zone: &TimeZone) -> Step {
    match verdict {
        Verdict::Pass => Step::passes(name, ""),
        Verdict::Defer { policy, until, .. } => {
            let facts = format!("deferred until {}", shown_moment(zone, until));
            Step { result: StepResult::Defers, ..Step::passes(name, facts).of(&policy) }
        }
        Verdict::Suppress(Suppression { policy, detail, .. }) => {
            let step = Step::suppresses(name, detail.map(String::from).unwrap_or_default());
            Step { policy, ..step }
        }
    }
}

impl Facts<'_> {
    fn consent_step(&self) -> Step {
        let Some(policy) = &self.policies.consent else {
            return Step::passes(CONSENT, "no consent is asked for");
        };
        let channel = self.candidate.channel;
        let subscription = self.campaign.subscription.as_ref().unwrap_or(&policy.subscription);
        let answer =
            self.row.map_or(Answer::Unknown, |row| policy.asks(row, subscription, channel));
        let what = format!("{} of {}", channel.name(), shown(subscription));
        let (said, origin) = match answer {
            Answer::Yes(consent) => ("yes", self.shown_origin(consent)),
            Answer::No(consent) => ("no", self.shown_origin(consent)),
            Answer::Unknown if policy.allowed_unknown.contains(channel) => {
                ("unknown", "and `unknown` says \"allow\"".to_owned())
            }
            Answer::Unknown => ("unknown", "and `unknown` says \"refuse\"".to_owned()),
        };
        let facts = format!("{said} for {what}, {origin}");
        match self.without_consent() {
            None => Step::passes(CONSENT, facts),
            Some(_) => Step::suppresses(CONSENT, facts),
        }
    }

    /// One step for each control group of the campaign.
    fn control_steps(&self) -> Vec<Step> {
        let name = Reason::Control.name();
        let groups =
            self.policies.control.iter().filter(|group| group.concerns(self.candidate.campaign));
        let mut steps: Vec<Step> = groups
            .map(|group| {
                let is_member = self.candidate.customer.is_some_and(|one| group.has(one));
                let percent = group.percent();
                let step = match is_member {
                    true => Step::suppresses(name, format!("a member, as {percent} % are")),
                    false => Step::passes(name, format!("no member; {percent} % are")),
                };
                step.of(&group.name)
            })
            .collect();
        if steps.is_empty() {
            steps.push(Step::passes(name, "no control group is for this campaign"));
        }
        steps
    }

    fn quiet_step(&self, decided_at: Millis) -> Step {
        let name = Reason::QuietHours.name();
        if let Some(verdict) = self.in_quiet_hours(At::Decision, decided_at) {
            let step = decided(name, verdict, self.zone);
            let facts = match step.facts.is_empty() {
                true => "they suppress the message".to_owned(),
                false => step.facts,
            };
            return Step { facts, ..step };
        }
        let local = shown_moment(self.zone, self.now);
        let channel = self.candidate.channel;
        let holding = self.policies.quiet_at(self.zone, self.now, channel);
        match (holding, self.campaign.quiet_hours) {
            (Some(hours), Some(QuietChoice::Ignore)) => {
                Step::passes(name, format!("at {local} they hold, and the campaign ignores them"))
                    .of(&hours.name)
            }
            _ => Step::passes(name, format!("none for {} at {local}", channel.name())),
        }
    }

    /// One step for each cap that is for the campaign and the channel.
    fn cap_steps(&self) -> Vec<Step> {
        let name = Reason::Cap.name();
        let (campaign, channel) = (self.candidate.campaign, self.candidate.channel);
        let empty = PolicyRow::default();
        let row = self.row.unwrap_or(&empty);
        let caps = self.policies.caps.iter().filter(|cap| cap.concerns(campaign, channel));
        let mut steps: Vec<Step> = caps
            .map(|cap| {
                if self.campaign.without_caps.contains(&cap.name) {
                    return Step::passes(name, "not for this campaign (`without_caps`)")
                        .of(&cap.name);
                }
                let mine = (self.candidate.event, campaign);
                let usage = cap.usage(row, Some(mine), self.zone, self.now);
                let facts = self.shown_usage(cap, &usage);
                let step = match cap.reached(row, mine, self.zone, self.now) {
                    Some(_) => Step::suppresses(name, facts),
                    None => Step::passes(name, facts),
                };
                step.of(&cap.name)
            })
            .collect();
        if steps.is_empty() {
            steps.push(Step::passes(name, "no cap is for this campaign and channel"));
        }
        steps
    }
}
