//! The customer of an event. Ids are personal data, so the `Debug` output of both types has none.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{EventError, EventErrorKind};
use super::identity::Parts;
use super::tape::{Kind, Value};

/// The longest id of a customer in bytes. Rows and communications contain ids, so a longer one is
/// refused.
pub const ID_BYTES_MAX: usize = 4096;

/// The customer of an event, with each id as text, as communications name them. It is read from
/// `customerInfo`, or for a merge from `toCustomerInfo`. An id that is null or "" is absent.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub customer_id: Option<Box<str>>,
    /// `accountgroupId`, or `accountfroupId`, a misspelling in the source's purchases.
    pub account_group_id: Option<Box<str>>,
    /// `customerUid` or `customerCode`: two names of one id.
    pub customer_uid: Option<Box<str>>,
    pub mobile_device_id: Option<Box<str>>,
    pub identifier_id: Option<Box<str>>,
    pub application_id: Option<Box<str>>,
}

impl Customer {
    /// Reads the customer from `info`, the value of the member `name`. `None` if it is absent or
    /// has no id. Adds to `unusable` the names of ids that are present and cannot be used.
    ///
    /// # Errors
    /// When the customer is not certain: `info` is not an object, or the id that [`Self::key`]
    /// would use first cannot be used. Falling back to another id could lead to another account.
    pub(super) fn read(
        name: &str,
        info: Value<'_>,
        unusable: &mut Vec<&'static str>,
    ) -> Result<Option<Customer>, EventError> {
        if info.is_absent() {
            return Ok(None);
        }
        let refused =
            |kind, path, value: Value<'_>| EventError { kind, path, offset: value.end_offset() };
        if info.kind() != Kind::Object {
            return Err(refused(EventErrorKind::CustomerNotAnObject, format!("/{name}"), info));
        }
        let mut roles: [Option<Value<'_>>; ROLE_NAMES.len()] = [None; ROLE_NAMES.len()];
        for member in info.members() {
            if let Some(role) = ROLE_NAMES.iter().position(|name| member.key.is(name)) {
                // If several members have one name, the last wins.
                roles[role] = Some(member.value);
            }
        }
        let mut ids = [const { None }; ROLE_NAMES.len()];
        for ((id, role), name) in ids.iter_mut().zip(roles).zip(ROLE_NAMES) {
            *id = role.and_then(|value| id_of(name, value, unusable));
            if id.take_if(|id: &mut Box<str>| id.len() > ID_BYTES_MAX).is_some() {
                unusable.push(name);
            }
        }
        for names in ROLES_OF_KEYS {
            if names.iter().any(|&role| ids[role].is_some()) {
                break;
            }
            let is_there = |&&role: &&usize| roles[role].is_some_and(|value| !value.is_absent());
            if let Some((&role, value)) =
                names.iter().find(is_there).and_then(|role| Some((role, roles[*role]?)))
            {
                let path = format!("/{name}/{}", ROLE_NAMES[role]);
                return Err(refused(EventErrorKind::CustomerIdUnusable, path, value));
            }
        }
        let [id, group, misspelt_group, uid, code, device, identifier, application] = ids;
        let customer = Customer {
            customer_id: id,
            account_group_id: group.or(misspelt_group),
            customer_uid: uid.or(code),
            mobile_device_id: device,
            identifier_id: identifier,
            application_id: application,
        };
        Ok((customer != Customer::default()).then_some(customer))
    }

    /// An upper bound of the bytes that the ids take in a row.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Customer {
            customer_id,
            account_group_id,
            customer_uid,
            mobile_device_id,
            identifier_id,
            application_id,
        } = self;
        let ids = [
            customer_id,
            account_group_id,
            customer_uid,
            mobile_device_id,
            identifier_id,
            application_id,
        ];
        ids.map(|id| 3 + id.as_ref().map_or(0, |id| id.len())).iter().sum()
    }

    /// The key of the customer, made from `customerId`, else `customerUid`, else `accountGroupId`.
    /// `None` if none of these is present: an application or a device is not a person.
    #[must_use]
    pub fn key(&self) -> Option<CustomerKey> {
        let (kind, id) = match self {
            Customer { customer_id: Some(id), .. } => (b'i', id),
            Customer { customer_uid: Some(uid), .. } => (b'u', uid),
            Customer { account_group_id: Some(group), .. } => (b'g', group),
            _ => return None,
        };
        let mut parts = Parts::new("hailer customer 1");
        parts.add(&[kind]);
        parts.add(id.as_bytes());
        Some(CustomerKey(parts.finish()))
    }
}

/// The member names of the ids, in the order that [`Customer::read`] uses.
const ROLE_NAMES: [&str; 8] = [
    "customerId",
    "accountgroupId",
    "accountfroupId",
    "customerUid",
    "customerCode",
    "mobileDeviceId",
    "identifierId",
    "applicationId",
];

/// The indices of the names that identify a customer, in the order of [`Customer::key`].
const ROLES_OF_KEYS: [&[usize]; 3] = [&[0], &[3, 4], &[1, 2]];

/// The text of an id: a string that is not empty, or a whole number in any spelling. If the value
/// is anything else and not absent, its name is added to `unusable`.
pub(super) fn id_of(
    name: &'static str,
    value: Value<'_>,
    unusable: &mut Vec<&'static str>,
) -> Option<Box<str>> {
    if value.is_absent() {
        return None;
    }
    let text = match value.kind() {
        Kind::Text | Kind::EscapedText => value.text().map(|text| text.to_boxed_str()),
        Kind::Integer => value.number().map(|literal| String::from_utf8_lossy(literal.0).into()),
        _ => value.number().and_then(|literal| Some(literal.integer()?.to_string().into())),
    };
    if text.is_none() {
        unusable.push(name);
    }
    text
}

impl fmt::Debug for Customer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Customer").finish_non_exhaustive()
    }
}

/// Identifies a customer: a hash of the kind of the id and of the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerKey(#[serde(with = "super::hash")] [u8; 16]);

impl CustomerKey {
    /// The key with these bytes, which [`Self::as_bytes`] returned.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> CustomerKey {
        CustomerKey(bytes)
    }

    /// The index of the customer's shard, of `shards` shards.
    ///
    /// # Panics
    /// If `shards` is 0.
    #[must_use]
    pub fn shard(self, shards: usize) -> usize {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d]) as usize % shards
    }

    /// A number that is the same for every event of the customer, for a rule's `bucket(salt)`. It
    /// does not depend on the bits that choose [`Self::shard`].
    #[must_use]
    pub fn seed(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The byte that chooses the customer's partition in the store. It does not depend on the bits
    /// of [`Self::shard`] and [`Self::seed`].
    #[must_use]
    pub fn partition_byte(self) -> u8 {
        self.0[8]
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CustomerKey({:016x}…)", self.seed())
    }
}
