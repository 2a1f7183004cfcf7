//! Reads the kept failures: page by page, or one in full.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name_of, time};
use crate::customers::CustomerIdKind;
use crate::event::CustomerKey;
use crate::records::{
    BodyRow, FailureKey, FailureRow, FailureStatus, Partition, Work, visit_failures,
};
use crate::store::{Snapshot, StoreError};

/// Maximum of failures on a page.
const PAGE_MAX: usize = 500;
/// Maximum of rows that are read for a page, even if few match.
const LOOKS_MAX: usize = 50_000;

/// Selects failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureQuery {
    pub campaign: Option<String>,
    /// Restricts the page to this customer, by an id as the source writes it.
    pub customer: Option<String>,
    /// The kind of the id; `None` tries every kind.
    pub by: Option<CustomerIdKind>,
    /// Excludes held events that have an earlier failure or held event in their queue.
    #[serde(default)]
    pub only_heads: bool,
    /// Selects events that campaigns missed while paused or suspended, in place of failures.
    #[serde(default)]
    pub only_missed: bool,
    /// The `next` key of the page before; empty starts at the beginning.
    #[serde(default)]
    pub after: Vec<u8>,
}

/// A page of failures. `next` is the key to continue after; `None` on the last page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailurePage {
    pub failures: Vec<FailureSummary>,
    pub next: Option<Vec<u8>>,
}

/// A failure, a held event or a missed event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureSummary {
    pub number: u64,
    pub campaign: String,
    /// The customer's key, a hash.
    pub customer: Option<String>,
    /// The event's code; `None` for a timer.
    pub event_code: Option<String>,
    pub timer: Option<String>,
    pub event_id: Option<String>,
    /// The `now` that the rule receives, also in a retry.
    pub at: Timestamp,
    /// True if the customer's later events wait behind this one.
    pub is_queued: bool,
    /// The last attempt; `None` for a held or a missed event.
    pub failed: Option<LastAttempt>,
    /// The reason why the campaign was paused or suspended, for a missed event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
}

/// The last attempt of a failed event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    pub error: String,
    pub version: String,
    pub tries: u32,
    pub tried_at: Timestamp,
}

/// A failure in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureDetails {
    #[serde(flatten)]
    pub summary: FailureSummary,
    /// Log lines that the rule wrote in the failed attempt.
    pub log: String,
    /// The event's body, unchanged; `None` for a timer, or if the body is not UTF-8.
    pub body: Option<String>,
}

/// Reads a page of failures.
///
/// # Errors
/// When a row can't be read.
pub fn failures(snapshot: &dyn Snapshot, query: &FailureQuery) -> Result<FailurePage, StoreError> {
    let customers: Option<Vec<CustomerKey>> = match &query.customer {
        Some(id) => Some(
            crate::customers::merged_customers(snapshot, id, query.by)?
                .map_or_else(Vec::new, |(_, merged_customers)| merged_customers),
        ),
        None => None,
    };
    let is_meant = |key: &FailureKey| {
        query.campaign.as_deref().is_none_or(|campaign| campaign == &*key.campaign)
            && customers
                .as_ref()
                .is_none_or(|meant| key.customer.is_some_and(|customer| meant.contains(&customer)))
    };
    let mut page = FailurePage::default();
    let mut looks = 0;
    let from =
        if query.after.is_empty() { Vec::new() } else { [query.after.as_slice(), &[0]].concat() };
    let mut last = FailureKey::decode(&query.after);
    visit_failures(snapshot, (&from, &[Partition::COUNT]), &mut |key, row| {
        looks += 1;
        let is_behind =
            |last: &FailureKey| (last.customer, &last.campaign) == (key.customer, &key.campaign);
        let has_one_in_front = row.is_queued && last.as_ref().is_some_and(is_behind);
        if is_meant(&key)
            && row.status.is_missed() == query.only_missed
            && !(query.only_heads && row.status.is_held() && has_one_in_front)
        {
            page.failures.push(summary(&key, &row));
        }
        if row.is_queued {
            last = Some(key.clone());
        }
        if page.failures.len() < PAGE_MAX && looks < LOOKS_MAX {
            return Ok(ControlFlow::Continue(()));
        }
        page.next = Some(key.encode());
        Ok(ControlFlow::Break(()))
    })?;
    Ok(page)
}

/// Reads the failure with this number; `None` if there is none.
///
/// # Errors
/// When a row can't be read.
pub fn failure(snapshot: &dyn Snapshot, number: u64) -> Result<Option<FailureDetails>, StoreError> {
    let mut found = None;
    visit_failures(snapshot, (&[], &[Partition::COUNT]), &mut |key, row| {
        if key.number != number {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some((key, row));
        Ok(ControlFlow::Break(()))
    })?;
    let Some((key, row)) = found else { return Ok(None) };
    let body = row.body_of().map(|id| BodyRow::get(snapshot, key.partition, id)).transpose()?;
    let body = body.flatten().and_then(|row| String::from_utf8(row.body.into()).ok());
    let log = match &row.status {
        FailureStatus::Failed { log, .. } => log.to_string(),
        FailureStatus::Held | FailureStatus::Missed { .. } => String::new(),
    };
    Ok(Some(FailureDetails { summary: summary(&key, &row), log, body }))
}

fn summary(key: &FailureKey, row: &FailureRow) -> FailureSummary {
    let (event_code, timer) = match &row.work {
        Work::Event { code, .. } | Work::Merge { code, .. } => (Some(code.to_string()), None),
        Work::Timer(timer) => (None, Some(timer.name.to_string())),
    };
    let failed = match &row.status {
        FailureStatus::Held | FailureStatus::Missed { .. } => None,
        FailureStatus::Failed { error, version, tried_ms, tries, .. } => Some(LastAttempt {
            error: error.to_string(),
            version: version.to_string(),
            tries: *tries,
            tried_at: time(*tried_ms),
        }),
    };
    let missed = match &row.status {
        FailureStatus::Missed { reason } => Some(reason.to_string()),
        FailureStatus::Failed { .. } | FailureStatus::Held => None,
    };
    FailureSummary {
        number: key.number,
        campaign: key.campaign.to_string(),
        customer: key.customer.map(name_of),
        event_code,
        timer,
        event_id: row.event_id().map(|id| id.to_string()),
        at: time(row.now),
        is_queued: row.is_queued,
        failed,
        missed,
    }
}
