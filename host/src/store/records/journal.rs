//! What was decided, and why: one entry an event or timer, with the outcome for each campaign that was asked. One row holds those
//! of a commit and a partition.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::event::{CustomerKey, EventId};

/// A row: entries in the order in which they were decided.
pub type JournalRow = Vec<JournalEntry>;

/// One event or timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub event_id: EventId,
    pub customer: Option<CustomerKey>,
    pub cause: Cause,
    /// When it was decided: the `now` that every rule was given, unless it was tried again.
    pub now: Millis,
    /// The number of the rule set that decided.
    pub rule_set: u64,
    pub outcomes: Vec<Outcome>,
    /// A failure that was tried again: the `now` that its rule was given, which is that of the first time.
    #[serde(default)]
    pub again: Option<Millis>,
    /// The key of the customer whom the event names, if a merge has made it mean another: `customer`.
    #[serde(default)]
    pub named: Option<CustomerKey>,
}

/// What was decided upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Event { code: Box<str> },
    Timer { campaign: Arc<str>, name: Box<str>, due: Millis },
}

/// What one campaign made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub campaign: Arc<str>,
    pub version: Arc<str>,
    pub decided: Decided,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decided {
    /// Not called: this required field is absent; or it is there, and `why` says why it can't be used.
    Skipped {
        field: Box<str>,
        #[serde(default)]
        why: Option<Box<str>>,
    },
    /// Called, and it answered.
    Answered {
        communications: Vec<Proposed>,
        notes: Vec<Box<str>>,
        /// Its state is another now.
        state_changed: bool,
        /// Timers set, with the time at which each is due.
        scheduled: Vec<(Box<str>, Millis)>,
        cancelled: Vec<Box<str>>,
    },
    /// It faulted.
    Failed { error: Box<str> },
    /// It waits behind an earlier failure.
    Held,
    /// Not called: the campaign has not been rolled out to this customer.
    OutsideRollout,
    /// Not called: the campaign was stopped. It can be decided later if it is kept.
    Missed { reason: Box<str>, is_kept: bool },
}

impl Decided {
    /// The reason of [`Decided::Skipped`] in words: a clause about the event.
    #[must_use]
    pub fn skipped_as(field: &str, why: Option<&str>) -> String {
        match why {
            Some(why) => format!("`{field}` {why}"),
            None => format!("the event has no `{field}`"),
        }
    }
}

/// A communication that a rule proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// Empty if it did not pass.
    pub id: Box<str>,
    /// The channel's number on the wire.
    pub channel: u8,
    pub template: Box<str>,
    pub verdict: Verdict,
    /// A hash of its data, if it is compared with what another version would send; data itself is kept nowhere. 0 if it is not.
    #[serde(default)]
    pub data_hash: u64,
}

/// What the policies made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It passed: it is in the outbox, or published.
    Passed,
    /// It does not go out, for this reason.
    Suppressed(Box<str>),
}
