//! The catalogue of all events of the source and all their fields. The SDK's event types,
//! `hailer events` and the event reference are generated from these tables, so each field is
//! described in one place.
//!
//! Names are the source's names in Rust's case. A card is flattened into the event's fields
//! (`new_card_number`), so that a rule can name exactly the fields that it reads. If the source has
//! two names for one field, both are paths of it. Events are never assumed. Some codes and names
//! are, and each of these says so.

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
    /// The name of the event in the SDK: `Purchase`.
    pub name: &'static str,
    /// A description of the event in a sentence or two.
    pub doc: &'static str,
    /// The event codes that the source documents.
    pub codes: &'static [&'static str],
    /// Event codes from Loymax's public API that are assumed to mean this event.
    pub guessed_codes: &'static [&'static str],
    /// The exact routing key of the source. It is never used for dispatch.
    pub routing_key: &'static str,
    pub fields: &'static [FieldDef],
    /// The example of the source, unchanged.
    pub sample: &'static str,
}

/// One field of an event, or of a record in a list.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// The name of the field in the SDK: `amount`.
    pub name: &'static str,
    pub kind: FieldKind,
    /// JSON Pointers to the field, the usual one first.
    pub paths: &'static [&'static str],
    /// Whether every such event has the field. Its type in the SDK is plain then, and an `Option`
    /// otherwise.
    pub required: bool,
    /// Whether the field is personal data, so that a campaign must be granted it by name.
    pub personal: bool,
    /// The description: meaning, unit, origin, and when the field is absent.
    pub doc: &'static str,
    /// The type of the elements of a [`FieldKind::List`]; `None` for other types.
    pub record: Option<&'static RecordType>,
}

/// The type of a list's elements, for example `ChequeItem`.
#[derive(Debug)]
pub struct RecordType {
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [FieldDef],
}

/// All events of the source, in its order. [`ANY_EVENT_TYPE`] is not in the list; it stands for all
/// other events.
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

/// All types of list elements.
pub static RECORDS: &[&RecordType] = &[&CHEQUE_ITEM, &REWARD, &WITHDRAW];

/// The type of an event code; `None` if the code is unknown.
#[must_use]
pub fn event_of_code(code: &str) -> Option<&'static EventType> {
    EVENTS.iter().find(|event| event.codes.contains(&code) || event.guessed_codes.contains(&code))
}

/// The type with this name in the SDK, `AnyEvent` included; `None` if there is none.
#[must_use]
pub fn event_named(name: &str) -> Option<&'static EventType> {
    EVENTS.iter().chain([&ANY_EVENT_TYPE]).find(|event| event.name == name)
}

impl EventType {
    /// The codes that a handler of this type takes: first the documented ones, then the assumed
    /// ones.
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
