//! An event: a body that is valid as a whole, and the few members that the engine itself reads, in
//! any order.
//!
//! An event without a code is refused. So is an event whose customer is not certain: see
//! [`Customer::read`]. Any other id with a wrong type counts as absent.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use super::customer::{Customer, CustomerKey, id_of};
use super::error::{EventError, EventErrorKind};
use super::scan::{Scanned, scan};
use super::tape::{Document, Node, Value};

/// The longest event code in bytes.
const CODE_BYTES_MAX: usize = 128;

/// One event, valid as a whole.
pub struct Event {
    raw: Bytes,
    nodes: Vec<Node>,
    was_repaired: bool,
    code: Box<str>,
    customer: Option<Customer>,
    merged_from: Option<Customer>,
    external_id: Option<Box<str>>,
    unusable_ids: Vec<&'static str>,
    customer_key: OnceLock<Option<CustomerKey>>,
}

impl Event {
    /// Validates the whole body and reads the envelope.
    ///
    /// # Errors
    /// If the body is not a JSON object, has no event code, or has a customer that is not certain.
    /// A comma before a closing bracket and a byte order mark are accepted.
    pub fn read(body: Bytes) -> Result<Event, EventError> {
        Event::read_within(body, usize::MAX)
    }

    /// Does the same as [`Self::read`] for a body of at most `bytes_max` bytes. A longer body is
    /// refused without reading it.
    ///
    /// # Errors
    /// As for [`Self::read`], and if the body is longer than `bytes_max`.
    pub fn read_within(body: Bytes, bytes_max: usize) -> Result<Event, EventError> {
        if body.len() > bytes_max {
            return Err(EventError {
                path: String::new(),
                kind: EventErrorKind::TooLarge,
                offset: bytes_max,
            });
        }
        let Scanned { nodes, was_repaired } = scan(&body)?;
        let members = Envelope::of(Document { body: &body, nodes: &nodes });
        let code = members.code()?;
        // A merge names two customers. Its event belongs to the customer who remains.
        let mut unusable = Vec::new();
        let mut read = |name, info: Option<Value<'_>>| match info {
            Some(info) => Customer::read(name, info, &mut unusable),
            None => Ok(None),
        };
        let customer = match read("toCustomerInfo", members.to_customer)? {
            None => read("customerInfo", members.customer)?,
            to => to,
        };
        let merged_from = read("fromCustomerInfo", members.from_customer)?;
        let external_id = members.external_id.and_then(|id| id_of("externalId", id, &mut unusable));
        Ok(Event {
            raw: body,
            nodes,
            was_repaired,
            code,
            customer,
            merged_from,
            external_id,
            unusable_ids: unusable,
            customer_key: OnceLock::new(),
        })
    }

    /// The approximate memory of the event in bytes: the body, its tape and the envelope.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        size_of::<Event>() + self.raw.len() + self.nodes.capacity() * size_of::<Node>()
    }

    /// The event code. It is never empty and has at most 128 bytes.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The customer of the event; `None` if the body names none.
    #[must_use]
    pub fn customer(&self) -> Option<&Customer> {
        self.customer.as_ref()
    }

    /// The key of [`Self::customer`], computed once; `None` without a customer, or if the customer
    /// has no key.
    #[must_use]
    pub fn customer_key(&self) -> Option<CustomerKey> {
        *self.customer_key.get_or_init(|| self.customer.as_ref().and_then(Customer::key))
    }

    /// The merged customer of a merge (`fromCustomerInfo`); `None` for any other event.
    #[must_use]
    pub fn merged_from(&self) -> Option<&Customer> {
        self.merged_from.as_ref()
    }

    /// The sender's own id of the event (`externalId`); `None` if the body has none.
    #[must_use]
    pub fn external_id(&self) -> Option<&str> {
        self.external_id.as_deref()
    }

    /// The names of the envelope's ids that are present and unusable: neither a text nor a whole
    /// number, or too long.
    #[must_use]
    pub fn unusable_ids(&self) -> &[&'static str] {
        &self.unusable_ids
    }

    /// Whether the body has a comma before a closing bracket, or a byte order mark.
    #[must_use]
    pub fn was_repaired(&self) -> bool {
        self.was_repaired
    }

    /// The body as it was received.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document { body: &self.raw, nodes: &self.nodes }
    }
}

/// Shows only the code and the length, because everything else may be personal.
impl fmt::Debug for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Event")
            .field("code", &self.code)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The members of the root that the engine reads. If several have one name, the last is here.
#[derive(Default)]
struct Envelope<'a> {
    code: Option<(Value<'a>, usize)>,
    customer: Option<Value<'a>>,
    from_customer: Option<Value<'a>>,
    to_customer: Option<Value<'a>>,
    external_id: Option<Value<'a>>,
}

impl<'a> Envelope<'a> {
    fn of(document: Document<'a>) -> Envelope<'a> {
        let mut envelope = Envelope::default();
        for member in document.root().members() {
            let (key, value) = (member.key, member.value);
            if key.is("eventCode") {
                envelope.code = Some((value, value.end_offset()));
            } else if key.is("customerInfo") {
                envelope.customer = Some(value);
            } else if key.is("fromCustomerInfo") {
                envelope.from_customer = Some(value);
            } else if key.is("toCustomerInfo") {
                envelope.to_customer = Some(value);
            } else if key.is("externalId") {
                envelope.external_id = Some(value);
            }
        }
        envelope
    }

    fn code(&self) -> Result<Box<str>, EventError> {
        let refuse = |kind, offset| Err(EventError { path: "/eventCode".to_owned(), kind, offset });
        match self.code {
            None => refuse(EventErrorKind::NoEventCode, 0),
            Some((value, end)) if value.is_absent() => refuse(EventErrorKind::NoEventCode, end),
            Some((value, end)) => match value.text() {
                None => refuse(EventErrorKind::EventCodeNotText, end),
                Some(text) if text.len() > CODE_BYTES_MAX => {
                    refuse(EventErrorKind::EventCodeTooLong, end)
                }
                Some(text) => Ok(text.to_boxed_str()),
            },
        }
    }
}
