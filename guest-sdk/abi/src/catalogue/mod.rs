//! The catalogue: every event of the source, every field of it. The SDK's event types, `hailer events` and the
//! event reference are made from these tables, so that a field is described in one place.
//!
//! Names are the source's own, in Rust's spelling; a card is flattened into the event's fields (`new_card_number`), so
//! that a rule can name exactly what it reads. Where the source has two spellings of one role, they are alternative
//! paths of one field. No event is guessed here: only codes and spellings are, and each says so.

mod any;
mod cards;
mod customers;
mod fields;
mod purchases;

use crate::manifest::FieldKind;

pub use any::ANY_EVENT_TYPE;
pub use purchases::{CHEQUE_ITEM, REWARD, WITHDRAW};

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
#[derive(Clone, Copy, Debug)]
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

/// Every event of the source, in its order. [`ANY_EVENT_TYPE`] is not among them: it stands for all others.
pub static EVENTS: &[EventType] = &[
    customers::REGISTRATION_STARTED,
    customers::REGISTRATION_COMPLETED,
    cards::CARD_LINKED,
    customers::PROFILES_MERGED,
    cards::CARD_ACTIVATED,
    cards::CARD_BLOCK_CHANGED,
    cards::CARD_DELETE_CHANGED,
    cards::CARD_CATEGORY_CHANGED,
    customers::ATTRIBUTE_UPDATED,
    customers::SUBSCRIPTION_CHANGED,
    purchases::PURCHASE,
    purchases::PURCHASE_REFUND,
];

/// Every record that a list of some event holds.
pub static RECORDS: &[&RecordType] = &[&CHEQUE_ITEM, &REWARD, &WITHDRAW];

/// The type that an event code belongs to.
#[must_use]
pub fn event_of_code(code: &str) -> Option<&'static EventType> {
    EVENTS.iter().find(|event| event.codes.contains(&code) || event.guessed_codes.contains(&code))
}

/// The type with an SDK name, `AnyEvent` included.
#[must_use]
pub fn event_named(name: &str) -> Option<&'static EventType> {
    EVENTS.iter().chain([&ANY_EVENT_TYPE]).find(|event| event.name == name)
}

impl EventType {
    /// The codes that a handler of this type takes: those of the source, then the guessed ones.
    pub fn all_codes(&self) -> impl Iterator<Item = &'static str> {
        self.codes.iter().chain(self.guessed_codes).copied()
    }

    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldDef> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl RecordType {
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldDef> {
        self.fields.iter().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests;
