//! Overview of a store: its identity, its size, and its progress.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{doubt_of, progress, time};
use crate::clock::{ClockMark, Millis};
use crate::records::{JournalRow, Key, LetterKey, Partition, TimerKey, decode, items_in};
use crate::store::{Identity, Row, Sizes, Snapshot, Store, StoreError, Table};

/// Overview of a store, for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The store's directory; `None` for a store in memory.
    pub directory: Option<String>,
    #[serde(flatten)]
    pub identity: Identity,
    /// Size of the store's files, in bytes.
    pub file_bytes: u64,
    pub tables: Vec<TableOverview>,
    /// The number of the last commit.
    pub commit: u64,
    /// Number of engine starts with this store.
    pub runs: u64,
    /// Number of committed communications that are not confirmed yet.
    pub outbox_waiting: u64,
    /// Number of durable dead letters that are not confirmed yet.
    pub dead_letters_waiting: u64,
    /// Number of dedup entries.
    pub dedup_rows: u64,
    /// The earliest time at which a timer is due or is examined again; `None` without timers.
    pub oldest_timer: Option<Timestamp>,
    pub journal: Option<JournalSpan>,
    /// The latest `now` of the engine; `None` if the engine has decided nothing yet.
    #[serde(default)]
    pub now: Option<Timestamp>,
    /// Why the machine's clock is in doubt; `None` if the engine trusts it.
    #[serde(default)]
    pub clock_in_doubt: Option<String>,
}

/// Size of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOverview {
    pub name: String,
    pub rows: u64,
    /// Total size of keys and values, in bytes.
    pub bytes: u64,
}

/// The times of the first and the last decision in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSpan {
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Reads every table of a store on a snapshot. This takes seconds for gigabytes, and blocks no
/// other work.
///
/// # Errors
/// When a row can't be read.
pub fn overview(
    store: &dyn Store,
    directory: Option<String>,
    reading: ClockMark,
) -> Result<Overview, StoreError> {
    let Sizes { tables, file_bytes } = store.sizes()?;
    let snapshot = &*store.snapshot()?;
    let dedup_rows =
        tables.iter().find(|size| size.table == Table::Dedup).map_or(0, |size| size.rows);
    let tables = tables.into_iter().map(|size| {
        let name = size.table.name().to_owned();
        TableOverview { name, rows: size.rows, bytes: size.bytes }
    });
    let progress = progress(snapshot)?;
    Ok(Overview {
        directory,
        identity: store.identity().clone(),
        file_bytes,
        tables: tables.collect(),
        commit: progress.commit,
        runs: progress.runs,
        outbox_waiting: outbox_waiting(snapshot)?,
        dead_letters_waiting: dead_letters_waiting(snapshot)?,
        dedup_rows,
        oldest_timer: oldest_timer(snapshot)?,
        journal: journal_span(snapshot)?,
        now: (progress.now != 0).then(|| time(progress.now)),
        clock_in_doubt: doubt_of(&progress, reading).map(|doubt| doubt.to_string()),
    })
}

fn dead_letters_waiting(snapshot: &dyn Snapshot) -> Result<u64, StoreError> {
    let (mut waiting, (from, to)) = (0, LetterKey::all());
    snapshot.range(Table::Outbox, &from, &to, &mut |_, _| {
        waiting += 1;
        ControlFlow::Continue(())
    })?;
    Ok(waiting)
}

fn outbox_waiting(snapshot: &dyn Snapshot) -> Result<u64, StoreError> {
    let mut waiting = Some(0);
    snapshot.range(Table::Outbox, &[], &[Partition::COUNT], &mut |_, row| {
        waiting = waiting.zip(items_in(row)).map(|(waiting, items)| waiting + u64::from(items));
        if waiting.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    waiting.ok_or_else(|| StoreError::unreadable(Table::Outbox, "a row that is not a list"))
}

fn oldest_timer(snapshot: &dyn Snapshot) -> Result<Option<Timestamp>, StoreError> {
    let mut oldest = None;
    for partition in Partition::all() {
        if let Some((key, _)) = first(snapshot, Table::Timers, partition)? {
            let timer = TimerKey::decode(&key);
            let timer = timer
                .ok_or_else(|| StoreError::unreadable(Table::Timers, "a key without a time"))?;
            // Timers that wait behind a failure have the latest possible due time.
            if timer.due == Millis::MAX {
                continue;
            }
            oldest = Some(oldest.map_or(timer.due, |oldest: i64| oldest.min(timer.due)));
        }
    }
    Ok(oldest.map(time))
}

fn journal_span(snapshot: &dyn Snapshot) -> Result<Option<JournalSpan>, StoreError> {
    let mut times = Vec::new();
    for partition in Partition::all() {
        let (from, to) = Key::whole(partition);
        let ends = [
            first(snapshot, Table::Journal, partition)?,
            snapshot.last(Table::Journal, &from, &to)?,
        ];
        for (_, row) in ends.into_iter().flatten() {
            let row: JournalRow = decode(Table::Journal, &row)?;
            times.extend(row.first().into_iter().chain(row.last()).map(|entry| entry.now));
        }
    }
    let span = times.iter().min().zip(times.iter().max());
    Ok(span.map(|(first, last)| JournalSpan { first: time(*first), last: time(*last) }))
}

fn first(
    snapshot: &dyn Snapshot,
    table: Table,
    partition: Partition,
) -> Result<Option<Row>, StoreError> {
    let (from, to) = Key::whole(partition);
    let mut first = None;
    snapshot.range(table, &from, &to, &mut |key, row| {
        first = Some((key.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(first)
}
