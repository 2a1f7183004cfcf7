//! The type that stands for every event that no other handler of a rule names: codes that the source's table does not
//! have among them.

use super::EventType;
use super::fields::{DELIVERY, customer_fields, field, fields};
use crate::manifest::ANY_EVENT;
use crate::manifest::FieldKind::{Raw, Str};

/// `AnyEvent`. Its sample is an event like any other.
pub static ANY_EVENT_TYPE: EventType = EventType {
    name: "AnyEvent",
    doc: "Every event that no other handler of the rule takes, whatever its code, known or not. `#[on(\"OnSomething\")]` \
          on the handler narrows it to the codes named.",
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
                "The whole message, to be searched by path. It costs more than fields do, and is personal as a whole.",
            )
            .personal(),
        ],
        customer_fields!("", "the customer (the one that remains, on a merge)", "/customerInfo", "/toCustomerInfo"),
        DELIVERY,
    ],
    sample: include_str!("../../events/OnBeginRegistration.json"),
};
