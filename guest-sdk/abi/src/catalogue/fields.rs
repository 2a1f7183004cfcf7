//! Functions and macros for writing the tables: a field in one expression, and groups of fields
//! that many events share. Groups are joined at compile time, so that the tables are plain statics.

use super::{FieldDef, RecordType};
use crate::manifest::FieldKind;

/// A field that may be absent and is not personal.
pub(super) const fn field(
    name: &'static str,
    kind: FieldKind,
    paths: &'static [&'static str],
    doc: &'static str,
) -> FieldDef {
    FieldDef { name, kind, paths, required: false, personal: false, doc, record: None }
}

/// A field that is a list of records.
pub(super) const fn list(
    name: &'static str,
    paths: &'static [&'static str],
    record: &'static RecordType,
    doc: &'static str,
) -> FieldDef {
    FieldDef { record: Some(record), ..field(name, FieldKind::List, paths, doc) }
}

impl FieldDef {
    /// Marks the field as present in every such event.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// Marks the field as personal: it identifies a person, or may do so.
    pub(super) const fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
}

/// The total number of fields of several groups.
pub(super) const fn count(groups: &[&[FieldDef]]) -> usize {
    let mut sum = 0;
    let mut group = 0;
    while group < groups.len() {
        sum += groups[group].len();
        group += 1;
    }
    sum
}

/// Concatenates groups of fields. `N` is their [`count`].
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

/// Joins groups of fields at compile time.
macro_rules! fields {
    ($($group:expr),+ $(,)?) => {{
        const GROUPS: &[&[$crate::catalogue::FieldDef]] = &[$($group),+];
        const JOINED: [$crate::catalogue::FieldDef; $crate::catalogue::fields::count(GROUPS)] =
            $crate::catalogue::fields::join(GROUPS);
        &JOINED
    }};
}

/// The six ids of a customer, read from one or more JSON objects. The prefix is put before the
/// field names.
macro_rules! customer_fields {
    ($prefix:literal, $who:literal, $($base:literal),+) => {
        &[
            $crate::catalogue::fields::field(
                concat!($prefix, "customer_id"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/customerId")),+],
                concat!(
                    "Loymax's id of ",
                    $who,
                    " (`customerId`): a number in the source, text here.",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "account_group_id"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/accountgroupId"), concat!($base, "/accountfroupId")),+],
                concat!(
                    "The account group of ",
                    $who,
                    " (`accountgroupId`, misspelled `accountfroupId` in purchases).",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "customer_uid"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/customerUid"), concat!($base, "/customerCode")),+],
                concat!(
                    "The UUID of ",
                    $who,
                    " (`customerUid`; registration and attribute events name it `customerCode`).",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "mobile_device_id"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/mobileDeviceId")),+],
                concat!(
                    "The id of the mobile device of ",
                    $who,
                    " (`mobileDeviceId`). Null or empty in all examples of the source.",
                ),
            )
            .personal(),
            $crate::catalogue::fields::field(
                concat!($prefix, "identifier_id"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/identifierId")),+],
                concat!(
                    "The id of the card or phone number that ",
                    $who,
                    " used (`identifierId`). Often null; set on registration and card linking.",
                ),
            ),
            $crate::catalogue::fields::field(
                concat!($prefix, "application_id"),
                $crate::manifest::FieldKind::Id,
                &[$(concat!($base, "/applicationId")),+],
                concat!(
                    "The id of the application that ",
                    $who,
                    " used (`applicationId`). Often null.",
                ),
            ),
        ]
    };
}

pub(super) use {customer_fields, fields};

/// The ids of the customer, which nearly every event has.
pub(super) const CUSTOMER: &[FieldDef] = customer_fields!("", "the customer", "/customerInfo");

/// Fields that any event may have: an id, and fields that look like the envelope of a retry.
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
        "How often the sender tried before (`tryCount`; the meaning is an assumption). Mostly \
         absent.",
    ),
    field(
        "delay_second",
        FieldKind::Int,
        &["/delaySecond"],
        "The delay before this try, in seconds (`delaySecond`; the meaning is an assumption). \
         Mostly absent or null.",
    ),
    field(
        "to_error_queue",
        FieldKind::Bool,
        &["/toErrorQueue"],
        "Whether the sender would give up after a failure (`toErrorQueue`; the meaning is an \
         assumption). Mostly absent.",
    ),
];
