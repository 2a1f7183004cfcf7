//! The type for every event that no other handler of a rule names, including events whose code the
//! source does not document.

use super::EventType;
use super::fields::{DELIVERY, customer_fields, field, fields};
use crate::manifest::ANY_EVENT;
use crate::manifest::FieldKind::{Raw, Str};

/// The type `AnyEvent`. Its sample is an arbitrary event.
pub static ANY_EVENT_TYPE: EventType = EventType {
    name: "AnyEvent",
    doc: "Any event that no other handler of the rule takes, with a known or an unknown code. \
          `#[on(\"OnSomething\")]` on the handler restricts it to the named codes.",
    codes: &[ANY_EVENT],
    guessed_codes: &[],
    routing_key: "",
    fields: fields![
        &[
            field("code", Str, &["/eventCode"], "The event's code (`eventCode`).").required(),
            field(
                "body",
                Raw,
                &[""],
                "The whole message, to be searched by path. It is slower than fields, and all of \
                 it counts as personal.",
            )
            .personal(),
        ],
        customer_fields!(
            "",
            "the customer (on a merge, the one who remains)",
            "/customerInfo",
            "/toCustomerInfo"
        ),
        DELIVERY,
    ],
    sample: include_str!("../../events/OnBeginRegistration.json"),
};
