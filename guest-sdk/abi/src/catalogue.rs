//! The catalogue: every event of the source, every field of it. The SDK's event types, `hailer events` and the
//! event reference are made from these tables, so that a field is described in one place.

use crate::manifest::FieldKind;

/// One type of event, with a handler type of the same name in the SDK.
#[derive(Debug)]
pub struct EventType {
    /// The SDK's name: `Purchase`.
    pub name: &'static str,
    /// What happened, in a sentence or two.
    pub doc: &'static str,
    /// Event codes that the source documents.
    pub codes: &'static [&'static str],
    /// Event codes taken over from Loymax's public API: a guess that they mean this event.
    pub guessed_codes: &'static [&'static str],
    /// The routing key that the source gives, to the letter. Never dispatched on.
    pub routing_key: &'static str,
    pub fields: &'static [FieldDef],
    /// The source's example, byte for byte.
    pub sample: &'static str,
}

/// One field of an event, or of a record in a list.
#[derive(Debug)]
pub struct FieldDef {
    /// The SDK's name: `amount`.
    pub name: &'static str,
    pub kind: FieldKind,
    /// JSON Pointers, the usual one first.
    pub paths: &'static [&'static str],
    /// Whether every such event has it: a plain type in the SDK, an `Option` otherwise.
    pub required: bool,
    /// Personal data: a campaign must be granted it by name.
    pub personal: bool,
    /// Meaning, unit, where it comes from, when it is absent.
    pub doc: &'static str,
    /// For [`FieldKind::List`]: the record's name and fields.
    pub record: Option<&'static RecordType>,
}

/// What a list holds: `ChequeItem`.
#[derive(Debug)]
pub struct RecordType {
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [FieldDef],
}

/// Every event of the source, in its order.
pub static EVENTS: &[EventType] = &[];

/// The type that an event code belongs to.
#[must_use]
pub fn event_of_code(code: &str) -> Option<&'static EventType> {
    EVENTS.iter().find(|event| event.codes.contains(&code) || event.guessed_codes.contains(&code))
}
