//! Events for tests: the source's examples with changed fields, or any JSON.

use std::fmt;

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, EventType, event_named, event_of_code};

use super::json::Json;
use crate::{Decimal, Timestamp};

/// An event to give to a [`Scenario`](super::Scenario).
///
/// ```
/// use hailer_sdk::testing::Event;
///
/// let event = Event::of("Purchase")
///     .set("amount", 250)
///     .set("brand_id", "d1f94a6c")
///     .set("/customerInfo/customerId", 7)
///     .set_json("items", r#"[{"itemId": "7", "amount": 250.00}]"#)
///     .without("date_time");
/// assert!(event.to_string().contains(r#""amount":250"#));
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) body: Json,
}

impl Event {
    /// Makes the source's example of an event, by its name in the SDK (`Purchase`) or by its code
    /// (`OnPurchaseConfirm`).
    ///
    /// # Panics
    /// When there is no such event.
    #[must_use]
    #[track_caller]
    pub fn of(name: &str) -> Self {
        match event_named(name).or_else(|| event_of_code(name)) {
            Some(event) => Self::json(event.sample),
            None => {
                let names: Vec<_> = EVENTS.iter().map(|event| event.name).collect();
                panic!("there is no event `{name}`; the events are {}", names.join(", "))
            }
        }
    }

    /// Makes an event from JSON, as SMC sends it.
    ///
    /// # Panics
    /// When the text is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(text: &str) -> Self {
        match Json::parse(text) {
            Ok(body) => Self { body },
            Err(error) => panic!("the event is not JSON: {error}"),
        }
    }

    /// Sets a field, by its name in the SDK (`amount`) or by a JSON Pointer
    /// (`/purchaseOperationInfo/brandId`).
    ///
    /// # Panics
    /// When the event has no such field.
    #[must_use]
    #[track_caller]
    pub fn set(mut self, field: &str, value: impl EventValue) -> Self {
        self.put(field, Some(value.into_json()));
        self
    }

    /// Sets a field to a JSON value.
    ///
    /// # Panics
    /// When the event has no such field, or the value is not JSON.
    #[must_use]
    #[track_caller]
    pub fn set_json(mut self, field: &str, json: &str) -> Self {
        self.put(field, Some(Self::json(json).body));
        self
    }

    /// Removes a field, at all its paths.
    ///
    /// # Panics
    /// When the event has no such field.
    #[must_use]
    #[track_caller]
    pub fn without(mut self, field: &str) -> Self {
        self.put(field, None);
        self
    }

    #[track_caller]
    fn put(&mut self, field: &str, value: Option<Json>) {
        let paths = if field.starts_with('/') { vec![field] } else { self.paths(field) };
        let there =
            paths.iter().find(|path| self.body.at(path).is_some_and(|found| *found != Json::Null));
        match (value, there) {
            (Some(value), path) => self.body.put(path.unwrap_or(&paths[0]), Some(value)),
            (None, _) => paths.iter().for_each(|path| self.body.put(path, None)),
        }
    }

    #[track_caller]
    fn paths(&self, field: &str) -> Vec<&'static str> {
        let event: &EventType = self.code().and_then(event_of_code).unwrap_or(&ANY_EVENT_TYPE);
        match event.field(field) {
            Some(field) => field.paths.to_vec(),
            None => {
                let names: Vec<_> = event.fields.iter().map(|field| field.name).collect();
                panic!(
                    "`{}` has no field `{field}`; its fields are {}",
                    event.name,
                    names.join(", ")
                )
            }
        }
    }

    pub(super) fn code(&self) -> Option<&str> {
        match self.body.at("/eventCode") {
            Some(Json::Text(code)) => Some(code),
            _ => None,
        }
    }
}

/// Makes an event from its name, its code, or its JSON.
impl From<&str> for Event {
    #[track_caller]
    fn from(text: &str) -> Self {
        if text.trim_start().starts_with('{') { Self::json(text) } else { Self::of(text) }
    }
}

/// Writes the event as JSON.
impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(formatter)
    }
}

/// A value for a field of an event.
pub trait EventValue: sealed::Sealed {}

mod sealed {
    use super::super::json::Json;

    pub trait Sealed {
        #[expect(private_interfaces, reason = "sealed: never called from outside")]
        fn into_json(self) -> Json;
    }
}
use sealed::Sealed;

macro_rules! event_values {
    ($($type:ty => |$value:ident| $json:expr;)+) => { $(
        impl EventValue for $type {}
        impl Sealed for $type {
            #[expect(private_interfaces, reason = "sealed: never called from outside")]
            fn into_json(self) -> Json {
                let $value = self;
                $json
            }
        }
    )+ };
}

event_values! {
    bool => |value| Json::Bool(value);
    i32 => |value| Json::Number(value.to_string());
    i64 => |value| Json::Number(value.to_string());
    f64 => |value| Json::Number(value.to_string());
    Decimal => |value| Json::Number(value.to_string());
    Timestamp => |value| Json::Text(value.to_string());
    &str => |value| Json::Text(value.to_owned());
    String => |value| Json::Text(value);
    () => |_null| Json::Null;
}
