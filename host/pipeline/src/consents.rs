//! Imports and exports consents and time zones: what customers' rows know of them, by customer's
//! key.
//!
//! An import is done in steps of bounded size, each of which is one commit. **A step changes whole
//! rows, and a row takes an import the same way however often it is repeated.** So an import that
//! was interrupted is completed by repeating it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::customers::current;
use crate::records::{CustomerRow, Key, Partition, decode, encode};
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;
use hailer_policies::{
    Channels, ConsentCounts, ImportedConsent, PolicyRow, SUBSCRIPTION_BYTES_MAX, ZoneCounts,
    zone_of,
};
use hailer_store::{Changes, Snapshot, Store, StoreError, Table};

/// The most statements of one request.
pub const STATEMENTS_MAX: usize = 512;

/// The most bytes of rows that one step holds; the last row may exceed it.
const STEP_BYTES_MAX: usize = 8 << 20;

/// What an import says about one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// The key of the customer, before redirects from merges.
    #[serde(rename = "key", serialize_with = "write_key", deserialize_with = "read_key")]
    pub customer: CustomerKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ImportedConsent>,
    /// The time zone, which `zone_of` can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Arc<str>>,
}

/// A request to import statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRequest {
    /// At most [`STATEMENTS_MAX`].
    pub statements: Vec<Statement>,
    /// Whether a time zone replaces another one that is known.
    pub replaces_zones: bool,
    /// Whether the statements are only counted.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of the statements of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    pub consents: ConsentCounts,
    pub time_zones: ZoneCounts,
}

/// A step of an import.
pub(crate) struct Step {
    pub(crate) changes: Changes,
    pub(crate) imported: Imported,
    /// How many statements the step has taken.
    pub(crate) taken: usize,
    /// How many of them changed a consent.
    pub(crate) changed_consent: u64,
}

impl ImportRequest {
    /// Checks what a client sent.
    ///
    /// # Errors
    /// A sentence that names no value.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.statements.len() > STATEMENTS_MAX {
            return Err(format!("a request has at most {STATEMENTS_MAX} statements"));
        }
        for (number, statement) in self.statements.iter().enumerate() {
            let is_named = |consent: &ImportedConsent| {
                (1..=SUBSCRIPTION_BYTES_MAX).contains(&consent.subscription.len())
            };
            if statement.consent.as_ref().is_some_and(|consent| !is_named(consent)) {
                return Err(format!(
                    "statement {number}: the subscription's code must have 1 to \
                     {SUBSCRIPTION_BYTES_MAX} bytes"
                ));
            }
            if statement.time_zone.as_deref().is_some_and(|zone| zone_of(zone).is_none()) {
                return Err(format!("statement {number}: the time zone is not known"));
            }
        }
        Ok(())
    }
}

impl Statement {
    /// Changes a customer's row as the statement says.
    pub fn apply(&self, row: &mut PolicyRow, replaces_zones: bool) -> Imported {
        let mut imported = Imported::default();
        if let Some(consent) = &self.consent {
            imported.consents = row.import(consent);
        }
        if let Some(zone) = &self.time_zone {
            imported.time_zones = row.import_zone(zone, replaces_zones);
        }
        imported
    }
}

impl Imported {
    pub fn add(&mut self, other: Imported) {
        self.consents.add(other.consents);
        self.time_zones.add(other.time_zones);
    }

    fn has_changes(self) -> bool {
        self.consents.changed > 0 || self.time_zones.changed > 0
    }
}

/// Imports statements into a store that no engine uses.
///
/// # Errors
/// The store cannot be read or written. What was imported before the error stays.
pub fn import(store: &dyn Store, request: &ImportRequest) -> Result<Imported, StoreError> {
    let mut imported = Imported::default();
    let mut left = &request.statements[..];
    while !left.is_empty() {
        let step = step(&*store.snapshot()?, left, request.replaces_zones)?;
        if !request.dry_run && step.imported.has_changes() {
            store.commit(step.changes)?;
        }
        imported.add(step.imported);
        left = &left[step.taken..];
    }
    Ok(imported)
}

/// The next step of an import: the changes that as many statements lead to as a step may hold.
pub(crate) fn step(
    snapshot: &dyn Snapshot,
    statements: &[Statement],
    replaces_zones: bool,
) -> Result<Step, StoreError> {
    let mut rows: BTreeMap<CustomerKey, (CustomerRow, bool)> = BTreeMap::new();
    let mut imported = Imported::default();
    let (mut bytes, mut taken, mut changed_consent) = (0, 0, 0);
    for statement in statements {
        if bytes >= STEP_BYTES_MAX {
            break;
        }
        let customer = current(snapshot, statement.customer)?;
        let (row, is_changed) = match rows.entry(customer) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let row = CustomerRow::get(snapshot, customer)?;
                bytes += row.bytes();
                place.insert((row, false))
            }
        };
        let more = statement.apply(&mut row.policy, replaces_zones);
        *is_changed |= more.has_changes();
        changed_consent += u64::from(more.consents.changed > 0);
        imported.add(more);
        taken += 1;
    }
    let mut changes = Changes::default();
    for (customer, (row, _)) in rows.iter().filter(|(_, (_, is_changed))| *is_changed) {
        changes.put(Table::Customers, Key::customer(*customer), encode(row));
    }
    Ok(Step { changes, imported, taken, changed_consent })
}

/// Calls `each` with every statement that the rows of a store make, in the order of the store's
/// rows; equal stores lead to equal statements. Ends early if `each` says so.
///
/// # Errors
/// The store cannot be read.
pub fn visit(
    snapshot: &dyn Snapshot,
    each: &mut dyn FnMut(Statement) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut broken = None;
    for partition in Partition::all() {
        let (from, to) = Key::whole(partition);
        let mut is_over = false;
        snapshot.range(Table::Customers, &from, &to, &mut |key, row| {
            let read = customer_of(key).and_then(|customer| {
                Ok((customer, decode::<CustomerRow>(Table::Customers, row)?.policy))
            });
            let visited = match read {
                Ok((customer, row)) => statements_of(customer, &row).try_for_each(&mut *each),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            };
            is_over = visited.is_break();
            visited
        })?;
        if is_over {
            break;
        }
    }
    broken.map_or(Ok(()), Err)
}

/// The statements that make a row: one for each subscription and moment.
fn statements_of(customer: CustomerKey, row: &PolicyRow) -> impl Iterator<Item = Statement> {
    let mut consents: BTreeMap<(Arc<str>, Millis), ImportedConsent> = BTreeMap::new();
    for consent in &row.consents {
        let Some(channel) = hailer_abi::wire::Channel::from_wire(consent.channel.into()) else {
            continue;
        };
        let key = (Arc::clone(&consent.subscription), consent.at);
        let imported = consents.entry(key).or_insert_with(|| ImportedConsent {
            subscription: Arc::clone(&consent.subscription),
            channels: Channels::default(),
            agreed: Channels::default(),
            at: consent.at,
        });
        imported.channels.insert(channel);
        if consent.is_yes {
            imported.agreed.insert(channel);
        }
    }
    let mut zone: Option<Arc<str>> = row.zone.as_deref().map(Arc::from);
    let mut statements: Vec<Statement> = consents
        .into_values()
        .map(|consent| Statement { customer, consent: Some(consent), time_zone: zone.take() })
        .collect();
    if zone.is_some() {
        statements.push(Statement { customer, consent: None, time_zone: zone });
    }
    statements.into_iter()
}

fn customer_of(key: &[u8]) -> Result<CustomerKey, StoreError> {
    let bytes = key.get(1..).and_then(|key| key.try_into().ok());
    bytes
        .map(CustomerKey::from_bytes)
        .ok_or_else(|| StoreError::unreadable(Table::Customers, "the key is not a customer's"))
}

/// A customer's key as text: 32 hexadecimal digits.
#[must_use]
pub fn key_text(customer: CustomerKey) -> String {
    format!("{:032x}", u128::from_be_bytes(*customer.as_bytes()))
}

/// Reads the result of [`key_text`]; `None` if the text is no key.
#[must_use]
pub fn key_of(text: &str) -> Option<CustomerKey> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    Some(CustomerKey::from_bytes(key.to_be_bytes()))
}

fn write_key<S: Serializer>(customer: &CustomerKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&key_text(*customer))
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CustomerKey, D::Error> {
    let text = String::deserialize(deserializer)?;
    key_of(&text).ok_or_else(|| de::Error::custom("`key` is not 32 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RedirectRow;
    use hailer_abi::wire::Channel;
    use hailer_event::Customer;
    use hailer_store::MemoryStore;

    fn named(id: &str) -> Customer {
        Customer { customer_id: Some(id.into()), ..Customer::default() }
    }

    fn key(id: &str) -> CustomerKey {
        named(id).key().unwrap()
    }

    fn said(id: &str, is_yes: bool, at: Millis) -> Statement {
        let channels = Channels::from_iter([Channel::Sms]);
        let agreed = if is_yes { channels } else { Channels::default() };
        let subscription = "Mailings".into();
        let consent = Some(ImportedConsent { subscription, channels, agreed, at });
        Statement { customer: key(id), consent, time_zone: None }
    }

    fn in_zone(id: &str, zone: &str) -> Statement {
        Statement { customer: key(id), consent: None, time_zone: Some(zone.into()) }
    }

    fn request(statements: Vec<Statement>) -> ImportRequest {
        ImportRequest { statements, replaces_zones: false, dry_run: false }
    }

    fn row(store: &MemoryStore, id: &str) -> PolicyRow {
        CustomerRow::get(&*store.snapshot().unwrap(), key(id)).unwrap().policy
    }

    fn all(store: &MemoryStore) -> Vec<Statement> {
        let mut all = Vec::new();
        visit(&*store.snapshot().unwrap(), &mut |statement| {
            all.push(statement);
            ControlFlow::Continue(())
        })
        .unwrap();
        all
    }

    #[test]
    fn an_import_follows_merges_and_is_the_same_when_repeated() {
        let store = MemoryStore::new("test");
        let mut changes = Changes::default();
        for (from, to) in [("1", "2"), ("2", "3")] {
            let redirect = RedirectRow { to: key(to), customer: named(to) };
            changes.put(Table::Redirects, Key::redirect(key(from)), redirect.encode());
        }
        store.commit(changes).unwrap();
        let statements = vec![said("1", true, 5), said("3", false, 7), in_zone("2", "Asia/Omsk")];
        let first = import(&store, &request(statements.clone())).unwrap();
        assert_eq!((first.consents.changed, first.time_zones.changed), (2, 1));
        let once = row(&store, "3");
        assert!(!once.consents[0].is_yes && once.zone.as_deref() == Some("Asia/Omsk"));
        assert!(row(&store, "1").is_empty() && row(&store, "2").is_empty());
        let again = import(&store, &request(statements)).unwrap();
        let ConsentCounts { changed, unchanged, older, .. } = again.consents;
        assert_eq!((changed, unchanged, older, again.time_zones.unchanged), (0, 1, 1, 1));
        assert_eq!(row(&store, "3"), once);
    }

    #[test]
    fn a_dry_run_counts_the_same_and_changes_nothing() {
        let store = MemoryStore::new("test");
        let statements = vec![said("1", true, 5), in_zone("1", "UTC")];
        let dry = ImportRequest { dry_run: true, ..request(statements.clone()) };
        let counted = import(&store, &dry).unwrap();
        assert!(row(&store, "1").is_empty());
        assert_eq!(import(&store, &request(statements)).unwrap(), counted);
    }

    #[test]
    fn an_import_of_an_export_makes_an_equal_export() {
        let store = MemoryStore::new("test");
        let mut mixed = said("1", true, 9);
        mixed.time_zone = Some("Asia/Omsk".into());
        let mut other = said("1", false, 4);
        other.consent.as_mut().unwrap().channels = Channels::all();
        let statements = vec![mixed, other, said("2", false, 4), in_zone("3", "+03:00")];
        import(&store, &request(statements)).unwrap();
        let exported = all(&store);
        assert_eq!(exported.len(), 4);
        let copy = MemoryStore::new("test");
        import(&copy, &request(exported.clone())).unwrap();
        assert_eq!(all(&copy), exported);
        let text = serde_json::to_string(&exported).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Statement>>(&text).unwrap(), exported);
    }

    #[test]
    fn an_export_ends_where_its_reader_ends() {
        let store = MemoryStore::new("test");
        let statements = (0..20).map(|id| said(&id.to_string(), true, 1)).collect();
        import(&store, &request(statements)).unwrap();
        let mut count = 0;
        visit(&*store.snapshot().unwrap(), &mut |_| {
            count += 1;
            if count < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
        assert_eq!(count, 3);
    }

    #[test]
    fn large_rows_are_imported_in_several_steps() {
        let store = MemoryStore::new("test");
        let mut changes = Changes::default();
        let statements: Vec<_> = ["1", "2", "3"].map(|id| said(id, true, 1)).into();
        for id in ["1", "2", "3"] {
            let mut row = CustomerRow::default();
            row.change(&"tally".into(), |campaign| {
                let bytes = vec![7; STEP_BYTES_MAX].into();
                campaign.state =
                    Some(crate::records::StateRow { version: 1, bytes, changed_ms: 0 });
            });
            changes.put(Table::Customers, Key::customer(key(id)), encode(&row));
        }
        store.commit(changes).unwrap();
        assert_eq!(step(&*store.snapshot().unwrap(), &statements, false).unwrap().taken, 1);
        let imported = import(&store, &request(statements)).unwrap();
        assert_eq!(imported.consents.changed, 3);
        let kept = CustomerRow::get(&*store.snapshot().unwrap(), key("3")).unwrap();
        assert_eq!(kept.campaign("tally").unwrap().state_bytes(), STEP_BYTES_MAX);
    }

    #[test]
    fn a_request_that_no_client_of_ours_sends_is_refused() {
        let many = request(vec![said("1", true, 1); STATEMENTS_MAX + 1]);
        assert!(many.check().unwrap_err().contains("at most 512"));
        assert!(request(vec![in_zone("1", "Mars")]).check().unwrap_err().contains("statement 0"));
        let mut nameless = said("1", true, 1);
        nameless.consent.as_mut().unwrap().subscription = "".into();
        assert!(request(vec![nameless]).check().is_err());
        assert_eq!(request(vec![said("1", true, 1), in_zone("1", "+03:00")]).check(), Ok(()));
        for text in ["", "+123456789012345678901234567890a", &"0".repeat(31), &"g".repeat(32)] {
            assert_eq!(key_of(text), None, "{text}");
        }
        assert_eq!(key_of(&key_text(key("1"))), Some(key("1")));
    }
}
