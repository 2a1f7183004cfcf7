//! Computes what must be published under the policies of `tests/fixtures/policies.toml`, written a
//! second time in plain Rust. It uses no module, no policy code and no clock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::faults::oracle::{Expected, Fact, Held};

/// What `max` of the cap `day` says.
const CAP_MAX: usize = 2;
/// The campaigns whose messages are marketing, in the order of their priorities.
const MARKETING: [&str; 2] = ["alpha", "beta"];
const TRANSACTIONAL: &str = "alarm";
const TEMPLATE: &str = "big-basket";

/// An event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Bought { customer: u32, number: u32 },
    Stated { customer: u32, is_yes: bool },
    Merged { from: u32, to: u32 },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// From now on messages are deferred.
    Evening,
    /// Everything deferred is released, and a new day begins.
    Morning,
    Event(Happening),
}

#[derive(Clone, Debug, Default)]
struct Customer {
    /// `None` while the customer has stated nothing.
    agrees: Option<bool>,
    /// The deferred messages: the place of the campaign in [`MARKETING`], when it was decided, and
    /// the number of the purchase.
    deferred: Vec<(usize, usize, u32)>,
    /// How often a campaign spoke today.
    today: usize,
}

#[derive(Default)]
struct Oracle {
    expected: Expected,
    customers: BTreeMap<u32, Customer>,
    became: BTreeMap<u32, u32>,
}

impl Step {
    pub(super) fn event(&self) -> Option<&Happening> {
        match self {
            Step::Event(event) => Some(event),
            Step::Evening | Step::Morning => None,
        }
    }
}

impl Happening {
    pub(super) fn body(&self) -> String {
        let customer = |id: &u32| json!({ "customerId": id });
        let body = match self {
            Happening::Bought { customer: id, number } => json!({
                "eventCode": "OnPurchaseConfirm",
                "customerInfo": customer(id),
                "purchaseOperationInfo": {
                    "purchaseData": { "purchaseId": number, "amount": number }
                },
            }),
            Happening::Stated { customer: id, is_yes } => json!({
                "eventCode": "OnCustomerSubscriptionChange",
                "customerInfo": customer(id),
                "subscriptionTypeCode": "Promo",
                "subscriptionInfo": { "push": if *is_yes { "Enabled" } else { "Disabled" } },
            }),
            Happening::Merged { from, to } => json!({
                "eventCode": "MergeCustomersProfiles",
                "fromCustomerInfo": customer(from),
                "toCustomerInfo": customer(to),
            }),
        };
        body.to_string()
    }
}

/// What must be published after these steps.
pub(super) fn expected(steps: &[Step]) -> Expected {
    let (mut oracle, mut is_night) = (Oracle::default(), false);
    for (time, step) in steps.iter().enumerate() {
        match step {
            Step::Evening => is_night = true,
            Step::Morning => {
                is_night = false;
                oracle.morning();
            }
            Step::Event(event) => {
                oracle.expected.events += 1;
                oracle.event(*event, time, is_night);
            }
        }
    }
    oracle.expected
}

impl Oracle {
    fn event(&mut self, event: Happening, time: usize, is_night: bool) {
        match event {
            Happening::Stated { customer, is_yes } => {
                let customer = self.resolve(customer);
                self.customers.entry(customer).or_default().agrees = Some(is_yes);
            }
            Happening::Merged { from, to } => {
                let gone = self.customers.remove(&from).unwrap_or_default();
                let stays = self.customers.entry(to).or_default();
                stays.agrees = match (stays.agrees, gone.agrees) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (own, other) => own.or(other),
                };
                stays.deferred.extend(gone.deferred);
                stays.today += gone.today;
                self.became.insert(from, to);
            }
            Happening::Bought { customer, number } => {
                let customer = self.resolve(customer);
                let alarm = fact(TRANSACTIONAL, customer, number);
                self.expected.communications.insert(alarm, 1);
                for place in 0..MARKETING.len() {
                    let known = self.customers.entry(customer).or_default();
                    if is_night && known.agrees != Some(false) {
                        known.deferred.push((place, time, number));
                    } else {
                        self.judge(customer, place, number);
                    }
                }
            }
        }
    }

    fn morning(&mut self) {
        self.customers.values_mut().for_each(|customer| customer.today = 0);
        for id in self.customers.keys().copied().collect::<Vec<_>>() {
            let customer = self.customers.entry(id).or_default();
            let mut deferred = std::mem::take(&mut customer.deferred);
            deferred.sort_unstable();
            deferred.iter().for_each(|(place, _, number)| self.judge(id, *place, *number));
        }
    }

    /// Judges a message outside of the night.
    fn judge(&mut self, id: u32, place: usize, number: u32) {
        let fact = fact(MARKETING[place], id, number);
        let customer = self.customers.entry(id).or_default();
        if customer.agrees == Some(false) {
            self.expected.suppressed.insert(fact, Held::WithoutConsent);
        } else if customer.today >= CAP_MAX {
            self.expected.suppressed.insert(fact, Held::OverCap);
        } else {
            customer.today += 1;
            self.expected.communications.insert(fact, 1);
        }
    }

    fn resolve(&self, customer: u32) -> u32 {
        let mut now = customer;
        while let Some(next) = self.became.get(&now) {
            now = *next;
        }
        now
    }
}

fn fact(campaign: &str, recipient: u32, number: u32) -> Fact {
    let data = vec![u64::from(number)];
    Fact { campaign: campaign.into(), recipient, template: TEMPLATE.into(), data }
}

pub(super) fn moscow() -> TimeZone {
    TimeZone::get("Europe/Moscow").expect("a zone")
}

/// Whether a published message is marketing, and was made at night.
pub(super) fn is_wrong_time(body: &Value) -> bool {
    let created: Timestamp = body["createdAt"].as_str().expect("a time").parse().expect("a time");
    let hour = moscow().to_datetime(created).hour();
    body["campaign"] != TRANSACTIONAL && !(9..22).contains(&hour)
}
