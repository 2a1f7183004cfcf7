//! What came out beside what must have come out: the communications, the states and the redirects in the store, and what has to be empty.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use hailer::event::{Customer, CustomerKey};
use hailer::records::{CustomerRow, Partition, RedirectRow};
use hailer::store::{FileStore, Opening, Snapshot, Store, Table};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::oracle::{Expected, Fact, Told};

/// Everything that was found in the way out.
#[derive(Debug, Default)]
pub(super) struct Collected {
    bodies: BTreeMap<String, Vec<u8>>,
    facts: BTreeMap<Fact, usize>,
    /// Deliveries of what had been delivered before.
    repeats: usize,
    /// Of those, how many were not the same byte for byte.
    altered: usize,
}

/// How what came out differs from what must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) events: usize,
    pub(super) communications: usize,
    pub(super) lost: usize,
    pub(super) twice: usize,
    pub(super) repeats: usize,
    /// Deliveries under an id that another body had.
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

    /// Counts what can be told where equal messages may have been taken for copies: no id has two bodies, and there are no more
    /// communications than there were to come.
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
                "{} ids of {may_come}, {} deliveries with other bytes under one",
                self.len(),
                self.altered
            ));
        }
        count
    }

    /// Compares, and says in words what is wrong.
    pub(super) fn compare(&self, expected: &Expected, wrong: &mut Vec<String>) -> Count {
        let mut count = Count { events: expected.events, communications: self.len(), ..Count::default() };
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
                count.twice += found - times;
                wrong.push(format!("too often: {fact:?}, {found} in place of {times}"));
            }
        }
        if self.altered > 0 {
            wrong.push(format!("{} deliveries with other bytes under an id that was known", self.altered));
        }
        count
    }
}

/// What a communication tells of the rule that sent it.
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

/// Compares what a stopped engine's store holds with what it must hold.
pub(super) fn compare_store(directory: &Path, expected: &Expected, wrong: &mut Vec<String>) {
    let store = FileStore::open(directory, Opening::of("local")).expect("the store of a stopped engine");
    let snapshot = store.snapshot().expect("a view");
    for (table, expected) in [(Table::Outbox, 0), (Table::Timers, 0), (Table::Failures, expected.failures)] {
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
                "tally" => _ = tally.insert(key, read::<Told>(&state.bytes)),
                "flaky" => _ = flaky.insert(key, read::<Told>(&state.bytes)),
                "held" => _ = held.insert(key, read::<Told>(&state.bytes)),
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
    let customer = Customer { customer_id: Some(customer.to_string().into()), ..Customer::default() };
    customer.key().expect("whoever has an id has a key")
}
