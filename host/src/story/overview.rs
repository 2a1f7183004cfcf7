//! The store itself: what it is, how much is in it, and how far it has come.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{doubt_of, progress, time};
use crate::clock::{ClockMark, Millis};
use crate::records::{JournalRow, Key, LetterKey, Partition, TimerKey, decode, items_in};
use crate::store::{Identity, Row, Sizes, Snapshot, Store, StoreError, Table};

/// A store, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Where it is; `None` for one in memory.
    pub directory: Option<String>,
    #[serde(flatten)]
    pub identity: Identity,
    /// What its files take on the disk.
    pub file_bytes: u64,
    pub tables: Vec<TableOverview>,
    /// The number of the last commit.
    pub commit: u64,
    /// How often an engine has been started with it.
    pub runs: u64,
    /// Communications that are committed and not yet known to be published.
    pub outbox_waiting: u64,
    /// Dead letters that are durable and not yet known to be delivered.
    pub dead_letters_waiting: u64,
    /// Deduplication keys that are remembered.
    pub dedup_rows: u64,
    /// When the first timer is due, or is looked at again.
    pub oldest_timer: Option<Timestamp>,
    pub journal: Option<JournalSpan>,
    /// The latest `now` of the engine; `None` if it has none yet.
    #[serde(default)]
    pub now: Option<Timestamp>,
    /// Why the machine's clock is not believed, if it is not.
    #[serde(default)]
    pub clock_in_doubt: Option<String>,
}

/// A table of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOverview {
    pub name: String,
    pub rows: u64,
    /// Of keys and values.
    pub bytes: u64,
}

/// From when to when decisions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSpan {
    pub first: Timestamp,
    pub last: Timestamp,
}

/// Looks at all of a store. Walks through every table, on a snapshot: it takes seconds for gigabytes, and holds nobody up.
///
/// # Errors
/// When a row can't be read.
pub fn overview(store: &dyn Store, directory: Option<String>, reading: ClockMark) -> Result<Overview, StoreError> {
    let Sizes { tables, file_bytes } = store.sizes()?;
    let snapshot = &*store.snapshot()?;
    let dedup_rows = tables.iter().find(|size| size.table == Table::Seen).map_or(0, |size| size.rows);
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
    waiting.ok_or_else(|| StoreError::unreadable(Table::Outbox, "a row that is no list"))
}

fn oldest_timer(snapshot: &dyn Snapshot) -> Result<Option<Timestamp>, StoreError> {
    let mut oldest = None;
    for partition in Partition::all() {
        if let Some((key, _)) = first(snapshot, Table::Timers, partition)? {
            let timer = TimerKey::decode(&key);
            let timer = timer.ok_or_else(|| StoreError::unreadable(Table::Timers, "a key without a time"))?;
            // Those that wait behind a failure stand at the end of time.
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
        let ends = [first(snapshot, Table::Journal, partition)?, snapshot.last(Table::Journal, &from, &to)?];
        for (_, row) in ends.into_iter().flatten() {
            let row: JournalRow = decode(Table::Journal, &row)?;
            times.extend(row.first().into_iter().chain(row.last()).map(|entry| entry.now));
        }
    }
    let span = times.iter().min().zip(times.iter().max());
    Ok(span.map(|(first, last)| JournalSpan { first: time(*first), last: time(*last) }))
}

fn first(snapshot: &dyn Snapshot, table: Table, partition: Partition) -> Result<Option<Row>, StoreError> {
    let (from, to) = Key::whole(partition);
    let mut first = None;
    snapshot.range(table, &from, &to, &mut |key, row| {
        first = Some((key.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(first)
}
