//! How the tables are written: a field in one expression, and the groups of fields that many events share. Groups
//! are joined at compile time, so that the tables stay plain statics.

use super::{FieldDef, RecordType};
use crate::manifest::FieldKind;

/// A field that may be absent and isn't personal.
pub(super) const fn field(
    name: &'static str,
    kind: FieldKind,
    paths: &'static [&'static str],
    doc: &'static str,
) -> FieldDef {
    FieldDef { name, kind, paths, required: false, personal: false, doc, record: None }
}

/// A list of records.
pub(super) const fn list(
    name: &'static str,
    paths: &'static [&'static str],
    record: &'static RecordType,
    doc: &'static str,
) -> FieldDef {
    FieldDef { record: Some(record), ..field(name, FieldKind::List, paths, doc) }
}

impl FieldDef {
    /// Every such event has it.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// It says who somebody is, or may.
    pub(super) const fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
}

/// How many fields some groups have together.
pub(super) const fn count(groups: &[&[FieldDef]]) -> usize {
    let mut sum = 0;
    let mut group = 0;
    while group < groups.len() {
        sum += groups[group].len();
        group += 1;
    }
    sum
}

/// The fields of some groups, one after another. `N` is their [`count`].
pub(super) const fn join<const N: usize>(groups: &[&[FieldDef]]) -> [FieldDef; N] {
    let mut joined = [field("", FieldKind::Raw, &[], ""); N];
    let (mut at, mut group) = (0, 0);
    while group < groups.len() {
        let mut index = 0;
        while index < groups[group].len() {
            joined[at] = groups[group][index];
            at += 1;
            index += 1;
        }
        group += 1;
    }
    assert!(at == N, "N is the count of the groups");
    joined
}

/// The fields of an event: its groups, joined at compile time.
macro_rules! fields {
    ($($group:expr),+ $(,)?) => {{
        const GROUPS: &[&[$crate::catalogue::FieldDef]] = &[$($group),+];
        const JOINED: [$crate::catalogue::FieldDef; $crate::catalogue::fields::count(GROUPS)] =
            $crate::catalogue::fields::join(GROUPS);
        &JOINED
    }};
}

/// The six ids of a customer under one or more JSON objects, the field names with a prefix.
macro_rules! customer_fields {
    ($prefix:literal, $who:literal, $($base:literal),+) => {
        &[
            $crate::catalogue::fields::field(
                concat!($prefix, "customer_id"), $crate::manifest::FieldKind::Id, &[$(concat!($base, "/customerId")),+],
                concat!("Loymax's id of ", $who, " (`customerId`): a number in the source, text here."),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "account_group_id"), $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/accountgroupId"), concat!($base, "/accountfroupId")),+],
                concat!("The account group of ", $who, " (`accountgroupId`, which purchases misspell as `accountfroupId`)."),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "customer_uid"), $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/customerUid"), concat!($base, "/customerCode")),+],
                concat!(
                    "The UUID of ", $who,
                    " (`customerUid`; registration and attribute events call the same role `customerCode`).",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "mobile_device_id"), $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/mobileDeviceId")),+],
                concat!("The mobile device of ", $who, " (`mobileDeviceId`). Null or empty in every example of the source."),
            ).personal(),
            $crate::catalogue::fields::field(
                concat!($prefix, "identifier_id"), $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/identifierId")),+],
                concat!(
                    "Which identifier of ", $who, " took part, a card or a phone number (`identifierId`). ",
                    "Often null; set on registration and card linking.",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "application_id"), $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/applicationId")),+],
                concat!("The application that ", $who, " used (`applicationId`). Often null."),
            ),
        ]
    };
}

pub(super) use {customer_fields, fields};

/// The customer that nearly every event is about.
pub(super) const CUSTOMER: &[FieldDef] = customer_fields!("", "the customer", "/customerInfo");

/// What may stand on any event: an id, and what looks like the envelope of a retry.
pub(super) const DELIVERY: &[FieldDef] = &[
    field(
        "external_id",
        FieldKind::Id,
        &["/externalId"],
        "An id of the message (`externalId`). Only the card block example of the source has one.",
    ),
    field(
        "try_count",
        FieldKind::Int,
        &["/tryCount"],
        "How often the sender tried before (`tryCount`); that it is part of a retry envelope is a guess. Mostly absent.",
    ),
    field(
        "delay_second",
        FieldKind::Int,
        &["/delaySecond"],
        "The delay before this try, in seconds (`delaySecond`; the meaning is a guess). Mostly absent or null.",
    ),
    field(
        "to_error_queue",
        FieldKind::Bool,
        &["/toErrorQueue"],
        "Whether the sender would give up on a failure (`toErrorQueue`; the meaning is a guess). Mostly absent.",
    ),
];
