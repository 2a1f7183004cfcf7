//! Writes a recorded event as a line, and parses a line as an event.

use std::io::Write;

use bytes::Bytes;

use super::entry::Entry;
use crate::clock::Millis;
use crate::event::{Event, EventErrorKind};
use crate::pseudonyms::Pseudonyms;
use crate::sources::lines::Envelope;

/// An event with the data of its envelope.
#[derive(Debug)]
pub struct Recorded {
    pub event: Event,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    /// The engine's `now`, in Unix milliseconds; `None` if the envelope has no timestamp.
    pub timestamp_ms: Option<Millis>,
}

impl Recorded {
    /// Parses an entry as its source and the engine would.
    ///
    /// # Errors
    /// Why it is not an event; never contains a value of it.
    pub(crate) fn read(entry: &Entry, bytes_max: usize) -> Result<Recorded, String> {
        let envelope = match entry {
            Entry::Line(line) if line.cut => {
                return Err(format!(
                    "the line is longer than one of an event of {bytes_max} bytes \
                     (event.bytes_max)"
                ));
            }
            Entry::Line(line) => match Envelope::parse(line.text.clone()) {
                (envelope, None) => envelope,
                (_, Some(defect)) => return Err(defect.into()),
            },
            Entry::Message { envelope, .. } => envelope.clone(),
        };
        let Envelope { body, message_id, routing_key, timestamp_ms, .. } = envelope;
        let event = Event::read_within(body, bytes_max).map_err(|error| match error.kind {
            EventErrorKind::TooLarge => {
                format!("the event is over the limit of {bytes_max} bytes (event.bytes_max)")
            }
            _ => error.to_string(),
        })?;
        Ok(Recorded { event, message_id, routing_key, timestamp_ms })
    }

    /// Appends the event as a line, pseudonymised if `pseudonyms` is given.
    ///
    /// # Errors
    /// The event's time is not a valid date.
    pub(crate) fn append_to(
        &self,
        pseudonyms: Option<&Pseudonyms>,
        out: &mut Vec<u8>,
    ) -> Result<(), std::io::Error> {
        let message_id = self.message_id.as_deref();
        let other_id = pseudonyms.and_then(|pseudonyms| Some(pseudonyms.id(message_id?)));
        append(
            out,
            self.routing_key.as_deref(),
            other_id.as_deref().or(message_id),
            self.timestamp_ms,
            false,
            |out| match pseudonyms {
                Some(pseudonyms) => {
                    pseudonyms.replace(&self.event, out);
                    Ok(())
                }
                None => append_body(self.event.raw(), self.event.was_repaired(), out),
            },
        )
    }
}

/// An event to be written.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) body: Bytes,
    /// Whether the body was invalid JSON that was repaired when it was read.
    pub(super) was_repaired: bool,
    pub(super) message_id: Option<Box<str>>,
    pub(super) routing_key: Option<Box<str>>,
    pub(super) now: Millis,
    /// The broker had delivered the message before, so the recording may contain it twice.
    pub(super) redelivered: bool,
}

impl Message {
    /// Approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Message>() + self.body.len() + text(&self.message_id) + text(&self.routing_key)
    }

    /// Appends the line with its newline.
    ///
    /// # Errors
    /// `now` is not a valid date, or the body is not UTF-8.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), std::io::Error> {
        append(
            out,
            self.routing_key.as_deref(),
            self.message_id.as_deref(),
            Some(self.now),
            self.redelivered,
            |out| append_body(&self.body, self.was_repaired, out),
        )
    }
}

/// Appends a body unchanged: as a JSON object, or as a JSON text if it contains line breaks or is
/// not strict JSON.
fn append_body(body: &[u8], was_repaired: bool, out: &mut Vec<u8>) -> Result<(), std::io::Error> {
    let body = std::str::from_utf8(body).map_err(std::io::Error::other)?;
    if !was_repaired && body.starts_with('{') && body.ends_with('}') && !body.contains(['\n', '\r'])
    {
        out.extend_from_slice(body.as_bytes());
        return Ok(());
    }
    Ok(serde_json::to_writer(out, body)?)
}

/// Appends an envelope around a body, and a newline.
fn append(
    out: &mut Vec<u8>,
    routing_key: Option<&str>,
    message_id: Option<&str>,
    timestamp_ms: Option<Millis>,
    redelivered: bool,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), std::io::Error>,
) -> Result<(), std::io::Error> {
    out.push(b'{');
    for (name, text) in [("routingKey", routing_key), ("messageId", message_id)] {
        if let Some(text) = text {
            write!(out, "\"{name}\":")?;
            serde_json::to_writer(&mut *out, text)?;
            out.push(b',');
        }
    }
    if let Some(timestamp_ms) = timestamp_ms {
        let at = jiff::Timestamp::from_millisecond(timestamp_ms).map_err(std::io::Error::other)?;
        write!(out, "\"timestamp\":\"{at:.3}\",")?;
    }
    if redelivered {
        out.extend_from_slice(b"\"redelivered\":true,");
    }
    out.extend_from_slice(b"\"body\":");
    body(out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}
