//! What is in a store, told to people: a customer's story, every decision, and the store itself.
//!
//! It only reads, and only snapshots; it asks neither the clock nor an engine. What the rules that run now would have wanted of an
//! event it is handed as [`Taker`]s. It refuses to guess: **a communication is `published` only once its row has left the outbox**,
//! and of what is no longer kept it says so. Everything it reads is bounded, as a customer may have more history than fits anywhere.

mod ending;
mod kept;
mod lines;
mod people;
mod trail;

mod clock;
mod comparison;
mod decisions;
mod failures;
mod overview;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::of_every_ending;

use hailer_abi::manifest::ANY_EVENT;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::event::CustomerKey;
use crate::store::{Snapshot, StoreError};

pub use clock::{ClockReport, clock_report, doubt_of, progress};
pub use comparison::{Comparison, Difference, How, Side};
pub use decisions::{Cursor, Decision, DecisionPage, DecisionQuery, Sent, decisions};
pub(crate) use ending::Moment;
pub use ending::{Ending, NO_EVENT_SEEN, Until};
pub use failures::{FailedTold, FailurePage, FailureQuery, FailureShown, FailureTold, failure, failures};
pub use overview::{JournalSpan, Overview, TableOverview, overview};
pub use people::By;
pub(crate) use people::everybody;

/// Whose story, and which part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// An id, as the source writes it.
    pub customer: String,
    /// Which id it is; `None` to try each.
    pub by: Option<By>,
    /// What this campaign made of it, and nothing else.
    pub campaign: Option<String>,
    /// Nothing before.
    pub since: Option<Timestamp>,
}

/// A campaign that runs, and the event codes that it takes, or [`ANY_EVENT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    pub campaign: String,
    pub codes: Vec<String>,
    /// A canary decides in the place of this campaign for some customers: one of the two is asked.
    pub in_place_of: Option<String>,
    /// What has to hold of events of some of these codes, in words.
    pub conditions: Vec<(String, String)>,
}

impl Taker {
    fn takes(&self, code: &str) -> bool {
        self.codes.iter().any(|taken| taken == code || taken == ANY_EVENT)
    }

    /// The condition of the handler that takes a code: the one that names it, else the one for any event.
    fn condition(&self, code: &str) -> Option<&str> {
        let taken = if self.codes.iter().any(|taken| taken == code) { code } else { ANY_EVENT };
        self.conditions.iter().find(|(of, _)| of == taken).map(|(_, condition)| &**condition)
    }
}

/// What is known of one customer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Which id it was; `None` if nothing is known of such a customer.
    pub found_by: Option<By>,
    /// Something is known under this id of another kind too, perhaps of somebody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_by: Vec<By>,
    /// The customer's key: the store knows nobody's name.
    pub customer: Option<String>,
    /// The key of the customer that this one has become by a merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
    /// The keys of the customers that have become this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absorbed: Vec<String>,
    /// The oldest first.
    pub events: Vec<Told>,
    /// There are older ones since the time that was asked for, which would have been too much.
    pub is_cut: bool,
    /// Events of the customer that have nothing to do with the campaign that was asked for.
    pub others: u64,
    /// What waits for its time.
    pub timers: Vec<Pending>,
    /// Before that nothing is kept in the part of the store where this customer's events are.
    pub kept_since: Option<Timestamp>,
}

/// An event or a timer, and what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When it was decided.
    pub at: Timestamp,
    pub event_id: String,
    pub cause: Cause,
    /// The key of the customer whose event it was, if that is another than the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The key of the customer whom the event named, if a merge had made it mean another by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    pub rule_set: u64,
    /// A failure that was tried again: when it came the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
    pub lines: Vec<Line>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Cause {
    Event { code: String },
    Timer { campaign: String, name: String, due: Timestamp },
}

/// What one campaign made of it: a line for each communication and each timer that it asked for, or one for nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub campaign: String,
    /// Of the campaign, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What else the campaign did; stands in the first of its lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<String>,
    #[serde(default)]
    pub state_changed: bool,
    #[serde(flatten)]
    pub ending: Ending,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Subject {
    Communication {
        channel: String,
        template: String,
        /// Absent if it did not pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    Timer {
        name: String,
    },
}

/// A timer that has not fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    pub campaign: String,
    pub name: String,
    pub due: Timestamp,
}

/// Tells a customer's story. `takers` is what runs now; `None` if nobody knows.
///
/// # Errors
/// When a row can't be read.
pub fn tell(snapshot: &dyn Snapshot, question: &Question, takers: Option<&[Taker]>) -> Result<Story, StoreError> {
    let Some(found) = people::find(snapshot, &question.customer, question.by)? else { return Ok(Story::default()) };
    let people::Found { by, also_by, asked, became, everybody, timers } = found;
    let since = question.since.map(Timestamp::as_millisecond);
    let trail::Trail { entries, is_cut } = trail::read(snapshot, &everybody, since)?;
    let kept = kept::Kept::read(snapshot, &everybody, &entries)?;
    let takers = lines::Takers::new(takers, question.campaign.as_deref());
    let known = entries.len();
    let mut events = Vec::new();
    for trail::Entry { customer, entry, waiting } in entries {
        let lines = lines::lines(&entry, &waiting, &kept, &takers);
        // Who asks about one campaign wants to see what has to do with it.
        if lines.is_empty() && question.campaign.is_some() {
            continue;
        }
        events.push(Told {
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
    let absorbed = everybody.iter().filter(|person| **person != current && **person != asked);
    let timers =
        timers.into_iter().filter(|pending| question.campaign.as_ref().is_none_or(|name| *name == pending.campaign));
    Ok(Story {
        found_by: Some(by),
        also_by,
        customer: Some(name_of(asked)),
        became: became.map(name_of),
        absorbed: absorbed.copied().map(name_of).collect(),
        events,
        is_cut,
        others,
        timers: timers.collect(),
        kept_since: trail::kept_since(snapshot, &everybody)?.map(time),
    })
}

/// How a key is shown.
fn name_of(customer: CustomerKey) -> String {
    format!("{:032x}", u128::from_be_bytes(*customer.as_bytes()))
}

/// A time that may be beyond what can be written, such as that of a timer which a rule set for ever.
fn time(ms: Millis) -> Timestamp {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(limit)
}
