//! Sinks that write communications and dead letters as lines of JSON, to a file or to standard
//! output.
//!
//! A line is written completely or not at all: a batch that fails halfway is truncated. If a crash
//! left an incomplete line at the end of the file, the next start ends it with a line break before
//! it appends anything. **A batch counts as published when the file has it on disk** (one
//! `fdatasync` a batch). On standard output, it counts when the operating system has accepted it.
//!
//! A dead letter is written as an envelope that a lines source can read again after the cause is
//! fixed: `{"routingKey","messageId","headers":{"x-hailer-reason",…},"body"}`, with `bodyHex` for a
//! body that is not UTF-8.

mod output;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::communication::{Communication, DeadLetter};
use hailer_base::metrics;

use super::{DeadLetterSink, PendingConfirm, Sink, SinkError};
use output::Output;

/// Writes communications.
#[derive(Debug)]
pub struct LinesSink {
    output: Output,
}

/// Writes dead letters; creates the file with the first one.
#[derive(Debug)]
pub struct LinesDeadLetterSink {
    path: PathBuf,
    output: Option<Output>,
}

impl LinesSink {
    /// Appends to a file, which is created if it is missing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn file(path: &Path) -> Result<LinesSink, SinkError> {
        Ok(LinesSink { output: Output::file(path).await? })
    }

    #[must_use]
    pub fn standard() -> LinesSink {
        LinesSink { output: Output::standard() }
    }
}

impl Sink for LinesSink {
    async fn publish(&mut self, batch: &[Communication]) -> Result<PendingConfirm, SinkError> {
        let bytes = batch.iter().map(|communication| communication.body.len() + 1).sum();
        let mut lines = Vec::with_capacity(bytes);
        for communication in batch {
            lines.extend_from_slice(&communication.body);
            lines.push(b'\n');
        }
        self.output.append(lines).await?;
        ::metrics::counter!(metrics::SINK_CONFIRMED_TOTAL, "room" => "sink")
            .increment(batch.len() as u64);
        Ok(PendingConfirm::done())
    }
}

impl LinesDeadLetterSink {
    #[must_use]
    pub fn file(path: &Path) -> LinesDeadLetterSink {
        LinesDeadLetterSink { path: path.to_owned(), output: None }
    }

    /// A sink next to the file of events: `EVENTS.jsonl.deadletters.jsonl`.
    #[must_use]
    pub fn beside(events: &Path) -> LinesDeadLetterSink {
        LinesDeadLetterSink::file(&dead_letters_beside(events))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The path of the dead letters that belong to a file of events.
#[must_use]
pub fn dead_letters_beside(events: &Path) -> PathBuf {
    let mut name = events.as_os_str().to_owned();
    name.push(".deadletters.jsonl");
    name.into()
}

impl DeadLetterSink for LinesDeadLetterSink {
    async fn dead_letter(&mut self, batch: &[DeadLetter]) -> Result<(), SinkError> {
        let mut lines = Vec::new();
        for letter in batch {
            let unwritable = |error: serde_json::Error| SinkError::Write {
                place: self.path.display().to_string(),
                source: error.into(),
            };
            serde_json::to_writer(&mut lines, &Envelope::of(letter)).map_err(unwritable)?;
            lines.push(b'\n');
        }
        if self.output.is_none() {
            self.output = Some(Output::file(&self.path).await?);
        }
        if let Some(output) = &mut self.output {
            output.append(lines).await?;
        }
        ::metrics::counter!(metrics::SINK_CONFIRMED_TOTAL, "room" => "deadletters")
            .increment(batch.len() as u64);
        Ok(())
    }
}

/// A dead letter as one line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'letter> {
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_key: Option<&'letter str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'letter str>,
    headers: Headers<'letter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'letter str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

#[derive(Serialize)]
struct Headers<'letter> {
    #[serde(rename = "x-hailer-reason")]
    reason: &'letter str,
    #[serde(rename = "x-hailer-position", skip_serializing_if = "Option::is_none")]
    position: Option<&'letter str>,
    #[serde(rename = "x-hailer-received-ms")]
    received_ms: i64,
}

impl Envelope<'_> {
    fn of(letter: &DeadLetter) -> Envelope<'_> {
        let body = std::str::from_utf8(&letter.body).ok();
        Envelope {
            routing_key: letter.routing_key.as_deref(),
            message_id: letter.message_id.as_deref(),
            headers: Headers {
                reason: &letter.reason,
                position: letter.position.as_deref(),
                received_ms: letter.received_ms,
            },
            body_hex: body.is_none().then(|| hex::encode(&letter.body)),
            body,
        }
    }
}

#[cfg(test)]
mod tests;
