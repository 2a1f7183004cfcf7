//! Failures, held events and missed events: work that a campaign still has to decide. An event's
//! body is stored once in a row of its own, however many campaigns failed on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::customer::{PendingTimer, StateRow};
use super::decode;
use super::keys::{Key, Partition};
use hailer_base::clock::Millis;
use hailer_event::{Customer, CustomerKey, EventId};
use hailer_store::{Snapshot, StoreError, Table};

/// The key of a failure. The rows of one customer and campaign are sorted in the order in which
/// they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureKey {
    pub partition: Partition,
    /// `None` for an event without a customer.
    pub customer: Option<CustomerKey>,
    pub campaign: Arc<str>,
    /// A number that counts up over the whole store. Operators name a failure by it.
    pub number: u64,
}

/// An event, a timer or a merge that one campaign still has to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureRow {
    pub work: Work,
    /// The `now` that the rule was given. A retry gives it the same one.
    pub now: Millis,
    pub status: FailureStatus,
    /// Whether the customer's later events for this campaign are held behind it.
    pub is_queued: bool,
    /// The size of the row and of its event's body when it was stored, in bytes.
    pub bytes: u64,
}

/// The work that is to be decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    Event {
        id: EventId,
        code: Box<str>,
        /// The recipient of its communications since a merge; `None` if the recipient is the
        /// customer whom the event names.
        recipient: Option<Customer>,
    },
    /// A failed timer has fired. A held timer is still pending, and work ahead of it may cancel it.
    Timer(PendingTimer),
    /// A merge of what the campaign keeps about two customers.
    Merge {
        id: EventId,
        /// The code of the merge event.
        code: Box<str>,
        /// The state of the customer who was merged away; `None` if there was none.
        other: Option<StateRow>,
        /// The pending timers of the customer who was merged away. Empty if they moved with the
        /// merge.
        timers: Vec<PendingTimer>,
        /// The customer who remains, as the last merge named them.
        recipient: Option<Customer>,
    },
}

/// Why the work is not decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FailureStatus {
    /// The rule faulted.
    Failed {
        error: Box<str>,
        /// The log of the rule during the call that faulted.
        log: Box<str>,
        /// The version of the module that faulted.
        version: Arc<str>,
        /// When it was last tried, in ms since 1970.
        tried_ms: Millis,
        tries: u32,
    },
    /// The work is held behind a failure.
    Held,
    /// The work came while the campaign was stopped, for this reason.
    Missed { reason: Box<str> },
}

/// An event's body, stored as long as a failure needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRow {
    /// The number of failures that need the body.
    pub needed_by: u32,
    pub body: Bytes,
}

/// The number and the size of one campaign's failures, or of its missed events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureTotal {
    pub count: u64,
    pub bytes: u64,
}

/// The change that a commit makes to one campaign's [`FailureTotal`].
#[derive(Clone, Debug)]
pub struct FailureDelta {
    pub campaign: Arc<str>,
    pub count: i64,
    pub bytes: i64,
    /// Whether it counts missed events, and not failures.
    pub is_missed: bool,
}

impl FailureStatus {
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, FailureStatus::Held)
    }

    /// Whether the work came while the campaign was stopped.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        matches!(self, FailureStatus::Missed { .. })
    }
}

impl FailureRow {
    /// The event's id; `None` for a timer.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        match self.work {
            Work::Event { id, .. } | Work::Merge { id, .. } => Some(id),
            Work::Timer(_) => None,
        }
    }

    /// The id under which the event's body is stored; `None` for timers and merges, which need
    /// none.
    #[must_use]
    pub fn body_of(&self) -> Option<EventId> {
        match self.work {
            Work::Event { id, .. } => Some(id),
            Work::Timer(_) | Work::Merge { .. } => None,
        }
    }
}

impl FailureTotal {
    pub fn add(&mut self, count: i64, bytes: i64) {
        self.count = self.count.saturating_add_signed(count);
        self.bytes = self.bytes.saturating_add_signed(bytes);
    }
}

/// A visitor of failures. It says whether to continue.
pub(super) type VisitFailure<'a> =
    dyn FnMut(FailureKey, FailureRow) -> Result<ControlFlow<()>, StoreError> + 'a;

/// Visits the failures whose keys are at least `from` and less than `to`, in the order of the keys.
///
/// # Errors
/// The store or `visit` fails, or a row is no failure.
pub fn visit_failures(
    snapshot: &dyn Snapshot,
    (from, to): (&[u8], &[u8]),
    visit: &mut VisitFailure<'_>,
) -> Result<(), StoreError> {
    let mut broken = None;
    snapshot.range(Table::Failures, from, to, &mut |key, row| {
        let key = FailureKey::decode(key)
            .ok_or_else(|| StoreError::unreadable(Table::Failures, "the key is not a failure's"));
        match key.and_then(|key| visit(key, decode(Table::Failures, row)?)) {
            Ok(flow) => flow,
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(()), Err)
}

impl BodyRow {
    /// The most bytes that a row takes in addition to the body.
    pub const AROUND_BYTES: usize = 16;

    /// Reads the body of an event; `None` if no failure needs it.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn get(
        snapshot: &dyn Snapshot,
        partition: Partition,
        event: EventId,
    ) -> Result<Option<BodyRow>, StoreError> {
        let body = snapshot.get(Table::Bodies, &Key::body(partition, event))?;
        body.map(|body| decode(Table::Bodies, &body)).transpose()
    }
}
