//! Answers questions about the contents of a store: a customer's events and their results, every
//! decision, the kept failures, and the store itself.
//!
//! This module only reads snapshots. It asks neither the clock nor an engine; the caller passes the
//! campaigns that run now as [`RunningCampaign`]s. It refuses to guess: **a communication is
//! `published` only once its row has left the outbox**, and expired history is reported as no
//! longer kept. Every read is bounded, because a customer's history may be larger than memory.

mod kept_events;
mod lines;
mod result;
mod trail;

mod comparison;
mod consents;
mod decisions;
mod deferred;
mod failures;
mod judgement;
mod overview;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{history_of_policies, history_with_every_result};

use hailer_abi::manifest::ANY_EVENT;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::CustomerKey;
use crate::store::{Snapshot, StoreError};

pub(crate) use crate::clock_report::time;
pub use crate::clock_report::{ClockReport, clock_report, doubt_of, progress};
pub use crate::customers::{CustomerIdKind, Pending};
pub use comparison::{Comparison, Difference, DifferenceKind, Side};
pub use consents::{KnownConsents, known_consents};
pub use decisions::{
    Cursor, Decision, DecisionPage, DecisionQuery, ProposedCommunication, decisions,
};
pub use deferred::{DeferredMessage, DeferredPage, DeferredQuery, deferred};
pub use failures::{
    FailureDetails, FailurePage, FailureQuery, FailureSummary, LastAttempt, failure, failures,
};
pub use judgement::{
    ExplainedStep, JudgedCampaign, Judgement, JudgementQuery, JudgingPolicies, ZoneSource,
    judgement,
};
pub use overview::{JournalSpan, Overview, TableOverview, overview};
pub(crate) use result::ZonedTime;
pub(crate) use result::reason_text;
pub use result::{LineResult, NO_EVENT_SEEN, Until};

/// Query for the explanation of one customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainQuery {
    /// A customer id, as the source writes it.
    pub customer: String,
    /// The kind of the id; `None` tries every kind.
    pub by: Option<CustomerIdKind>,
    /// Restricts the answer to this campaign; `None` includes all campaigns.
    pub campaign: Option<String>,
    /// Excludes events that were decided before this time.
    pub since: Option<Timestamp>,
}

/// A campaign that runs, with the event codes that it takes; [`ANY_EVENT`] takes every code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCampaign {
    pub campaign: String,
    pub codes: Vec<String>,
    /// The campaign that a canary replaces for some customers: an event calls one of the
    /// two.
    pub in_place_of: Option<String>,
    /// Event codes with the handler's condition as text, for the handlers that have a condition.
    pub conditions: Vec<(String, String)>,
}

impl RunningCampaign {
    fn takes(&self, code: &str) -> bool {
        self.codes.iter().any(|taken| taken == code || taken == ANY_EVENT)
    }

    /// The condition of the handler that takes a code: the one that names it, else the one for any
    /// event.
    fn condition(&self, code: &str) -> Option<&str> {
        let taken = if self.codes.iter().any(|taken| taken == code) { code } else { ANY_EVENT };
        self.conditions.iter().find(|(of, _)| of == taken).map(|(_, condition)| &**condition)
    }
}

/// The history of one customer, with the decisions of every campaign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The kind of the id that matched; `None` if the store has nothing about such a customer.
    pub found_by: Option<CustomerIdKind>,
    /// The other kinds of id under which the store also has something, perhaps about another
    /// customer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_by: Vec<CustomerIdKind>,
    /// The customer's key, a hash; the store does not contain names.
    pub customer: Option<String>,
    /// The key of the remaining customer, if this customer was merged into another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    /// The keys of the customers that were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absorbed: Vec<String>,
    /// Events and fired timers, the oldest first.
    pub events: Vec<ExplainedEvent>,
    /// True if older events in the requested time exist but exceed the limits of an answer.
    pub is_cut: bool,
    /// Number of the customer's events that do not concern the requested campaign.
    pub others: u64,
    /// Timers that have not fired.
    pub timers: Vec<Pending>,
    /// The oldest decision that is kept in the store partitions of this customer; retention may
    /// have deleted earlier ones.
    pub kept_since: Option<Timestamp>,
}

/// An event or a fired timer, with the result for each campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedEvent {
    /// Time of the decision.
    pub at: Timestamp,
    pub event_id: String,
    pub cause: Cause,
    /// The key of the event's customer, if it differs from the customer of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The key of the customer that the event names, if a merge had redirected it before the
    /// decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    pub rule_set: u64,
    /// The time of the first attempt, for a retry of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
    pub lines: Vec<Line>,
}

/// The event or timer of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Cause {
    Event {
        code: String,
    },
    Timer {
        campaign: String,
        name: String,
        due: Timestamp,
    },
    /// Deferred communications that were due for their release at this time.
    Release {
        due: Timestamp,
    },
}

/// The result for one campaign: one line for each communication and timer that the campaign asked
/// for, or a single line if it asked for none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub campaign: String,
    /// The campaign's version; `None` if the campaign was not called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The earlier decision on a deferred communication that was judged again; `None` for a
    /// communication that was judged for the first time, and for anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<EarlierDecision>,
    /// The rule's notes; only the campaign's first line has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<String>,
    #[serde(default)]
    pub state_changed: bool,
    #[serde(flatten)]
    pub result: LineResult,
}

/// The decision by which a communication was deferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierDecision {
    /// The id of the event, or of the timer's firing.
    pub event_id: String,
    pub at: Timestamp,
}

/// The communication or the timer that a line describes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Subject {
    Communication {
        channel: String,
        template: String,
        /// The communication's id; `None` if a policy suppressed or deferred it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    Timer {
        name: String,
    },
}

/// Explains a customer's history. `running` lists the campaigns that run now; `None` if unknown.
///
/// # Errors
/// When a row can't be read.
pub fn explain(
    snapshot: &dyn Snapshot,
    question: &ExplainQuery,
    running: Option<&[RunningCampaign]>,
) -> Result<Explanation, StoreError> {
    let Some(found) = crate::customers::find(snapshot, &question.customer, question.by)? else {
        return Ok(Explanation::default());
    };
    let crate::customers::FoundCustomer { by, also_by, asked, became, merged_customers, timers } =
        found;
    let since = question.since.map(Timestamp::as_millisecond);
    let trail::Trail { entries, is_cut } = trail::read(snapshot, &merged_customers, since)?;
    let kept = kept_events::KeptEvents::read(snapshot, &merged_customers, &entries)?;
    let running = lines::RunningCampaigns::new(running, question.campaign.as_deref());
    let known = entries.len();
    let mut events = Vec::new();
    for trail::Entry { customer, entry, waiting } in entries {
        let lines = lines::lines(&entry, &waiting, &kept, &running);
        // A query for one campaign shows only the events that concern it.
        if lines.is_empty() && question.campaign.is_some() {
            continue;
        }
        events.push(ExplainedEvent {
            at: time(entry.now),
            event_id: entry.event_id.to_string(),
            cause: lines::cause(entry.cause),
            customer: (customer != asked).then(|| name_of(customer)),
            named: entry.named.map(name_of),
            rule_set: entry.rule_set,
            again: entry.again.map(time),
            lines,
        });
    }
    let others = (known - events.len()) as u64;
    let current = became.unwrap_or(asked);
    let absorbed =
        merged_customers.iter().filter(|customer| **customer != current && **customer != asked);
    let timers = timers
        .into_iter()
        .filter(|pending| question.campaign.as_ref().is_none_or(|name| *name == pending.campaign));
    Ok(Explanation {
        found_by: Some(by),
        also_by,
        customer: Some(name_of(asked)),
        became: became.map(name_of),
        absorbed: absorbed.copied().map(name_of).collect(),
        events,
        is_cut,
        others,
        timers: timers.collect(),
        kept_since: trail::kept_since(snapshot, &merged_customers)?.map(time),
    })
}

/// The text of a key in output: hexadecimal digits.
fn name_of(customer: CustomerKey) -> String {
    hex::encode(customer.as_bytes())
}
