//! Compares the results with the oracle: the communications, the states and redirects in the store,
//! and the tables that must be empty.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use hailer::event::{Customer, CustomerKey};
use hailer::records::{CustomerRow, Partition, RedirectRow};
use hailer::store::{FileStore, Opening, Snapshot, Store, Table};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::oracle::{Expected, Fact, Held, TallyState};

/// All communications that were taken from the output queue.
#[derive(Debug, Default)]
pub(super) struct Collected {
    bodies: BTreeMap<String, Vec<u8>>,
    facts: BTreeMap<Fact, usize>,
    /// The number of repeated deliveries.
    repeats: usize,
    /// The number of repeats with a different body.
    altered: usize,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) events: usize,
    pub(super) communications: usize,
    pub(super) lost: usize,
    pub(super) twice: usize,
    /// Messages that a cap, quiet hours or a missing consent forbids.
    pub(super) over_cap: usize,
    pub(super) at_night: usize,
    pub(super) without_consent: usize,
    pub(super) repeats: usize,
    /// The number of deliveries whose id came with a different body before.
    pub(super) altered: usize,
}

impl Collected {
    pub(super) fn add(&mut self, id: &str, body: Vec<u8>) {
        if let Some(before) = self.bodies.get(id) {
            self.repeats += 1;
            self.altered += usize::from(*before != body);
            return;
        }
        let fact = fact(&serde_json::from_slice(&body).expect("a communication is JSON"));
        *self.facts.entry(fact).or_default() += 1;
        self.bodies.insert(id.to_owned(), body);
    }

    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// The communications, without repeats.
    pub(super) fn bodies(&self) -> impl Iterator<Item = Value> {
        self.bodies.values().map(|body| serde_json::from_slice(body).expect("JSON"))
    }

    /// Compares only what is certain if equal messages may have been treated as copies: no id has
    /// two bodies, and there are not more communications than expected.
    pub(super) fn compare_ids(&self, expected: &Expected, wrong: &mut Vec<String>) -> Count {
        let may_come: usize = expected.communications.values().sum();
        let count = Count {
            events: expected.events,
            communications: self.len(),
            twice: self.len().saturating_sub(may_come),
            repeats: self.repeats,
            altered: self.altered,
            ..Count::default()
        };
        if count.altered > 0 || count.twice > 0 {
            wrong.push(format!(
                "{} ids of {may_come}, {} deliveries with another body for a known id",
                self.len(),
                self.altered
            ));
        }
        count
    }

    /// Compares, and describes each difference in `wrong`.
    pub(super) fn compare(&self, expected: &Expected, wrong: &mut Vec<String>) -> Count {
        let mut count =
            Count { events: expected.events, communications: self.len(), ..Count::default() };
        count.repeats = self.repeats;
        count.altered = self.altered;
        for (fact, times) in &expected.communications {
            let found = self.facts.get(fact).copied().unwrap_or_default();
            if found < *times {
                count.lost += times - found;
                wrong.push(format!("lost: {fact:?}, {found} of {times}"));
            }
        }
        for (fact, found) in &self.facts {
            let times = expected.communications.get(fact).copied().unwrap_or_default();
            if *found > times {
                let too_many = match expected.suppressed.get(fact) {
                    Some(Held::OverCap) => &mut count.over_cap,
                    Some(Held::WithoutConsent) => &mut count.without_consent,
                    None => &mut count.twice,
                };
                *too_many += found - times;
                wrong.push(format!("too often: {fact:?}, {found} in place of {times}"));
            }
        }
        if self.altered > 0 {
            wrong.push(format!("{} deliveries with another body for a known id", self.altered));
        }
        count
    }
}

/// The part of a communication that the oracle can predict.
fn fact(body: &Value) -> Fact {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let names = match body["template"].as_str() {
        Some("big-basket") => &["amount"][..],
        Some("told") => &["number", "count", "chain"],
        Some("nth-purchase") => &["purchases"],
        _ => &[],
    };
    let number = |name: &&str| {
        let value = &body["data"][name];
        value.as_u64().unwrap_or_else(|| value.as_f64().expect("a number") as u64)
    };
    Fact {
        campaign: text(&body["campaign"]),
        recipient: text(&body["recipient"]["customerId"]).parse().expect("a number"),
        template: text(&body["template"]),
        data: names.iter().map(number).collect(),
    }
}

/// Compares the store of a stopped engine with the oracle.
pub(super) fn compare_store(directory: &Path, expected: &Expected, wrong: &mut Vec<String>) {
    let store =
        FileStore::open(directory, Opening::of("local")).expect("the store of a stopped engine");
    let snapshot = store.snapshot().expect("a snapshot");
    for (table, expected) in
        [(Table::Outbox, 0), (Table::Timers, 0), (Table::Failures, expected.failures)]
    {
        let mut rows = 0;
        all(&*snapshot, table, |_, _| rows += 1);
        if rows != expected {
            wrong.push(format!("there are {rows} rows in `{}`, not {expected}", table.name()));
        }
    }
    let (mut tally, mut flaky, mut held) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut third = BTreeMap::new();
    all(&*snapshot, Table::Customers, |key, value| {
        let row: CustomerRow = read(value);
        for kept in row.campaigns() {
            let Some(state) = &kept.state else { continue };
            match &*kept.name {
                "tally" => _ = tally.insert(key, read::<TallyState>(&state.bytes)),
                "flaky" => _ = flaky.insert(key, read::<TallyState>(&state.bytes)),
                "held" => _ = held.insert(key, read::<TallyState>(&state.bytes)),
                _ => _ = third.insert(key, read::<Counted>(&state.bytes).numbers()),
            }
        }
    });
    let mut redirects = BTreeMap::new();
    all(&*snapshot, Table::Redirects, |from, to| {
        _ = redirects.insert(from, RedirectRow::decode(to).expect("a redirect").to)
    });
    let as_kept = expected.redirects.iter().map(|(from, to)| (*from, key(*to))).collect();
    differ("the states of `tally`", &tally, &expected.tally, wrong);
    differ("the states of `flaky`", &flaky, &expected.flaky, wrong);
    differ("the states of `held`", &held, &expected.held, wrong);
    differ("the states of `third`", &third, &expected.third, wrong);
    differ("the redirects", &redirects, &as_kept, wrong);
}

/// The state of `nth-purchase`.
#[derive(Deserialize)]
struct Counted {
    purchases: Vec<Bought>,
}

#[derive(Deserialize)]
struct Bought {
    id: String,
    #[serde(rename = "at")]
    _at: IgnoredAny,
}

impl Counted {
    fn numbers(&self) -> Vec<u32> {
        self.purchases.iter().map(|bought| bought.id.parse().expect("a number")).collect()
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<CustomerKey, T>,
    expected: &BTreeMap<u32, T>,
    wrong: &mut Vec<String>,
) {
    let expected: BTreeMap<CustomerKey, (u32, &T)> =
        expected.iter().map(|(customer, kept)| (key(*customer), (*customer, kept))).collect();
    for (key, (customer, kept)) in &expected {
        let found = found.get(key);
        if found != Some(kept) {
            wrong.push(format!("{what}: of customer {customer} there is {found:?}, not {kept:?}"));
        }
    }
    let foreign = found.keys().filter(|key| !expected.contains_key(key)).count();
    if foreign > 0 {
        wrong.push(format!("{what}: {foreign} too many"));
    }
}

fn all(snapshot: &dyn Snapshot, table: Table, mut visit: impl FnMut(CustomerKey, &[u8])) {
    let shown = snapshot.range(table, &[0], &[Partition::COUNT], &mut |key, value| {
        let customer = key.get(1..17).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        visit(CustomerKey::from_bytes(customer), value);
        ControlFlow::Continue(())
    });
    shown.expect("rows that can be read");
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> T {
    rmp_serde::from_slice(bytes).expect("a row or a state as this version writes it")
}

fn key(customer: u32) -> CustomerKey {
    let customer =
        Customer { customer_id: Some(customer.to_string().into()), ..Customer::default() };
    customer.key().expect("a customer with an id has a key")
}
