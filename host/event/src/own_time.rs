//! When an event happened, by its own word: what the catalogue says is its time.

use std::collections::HashMap;

use hailer_abi::catalogue::{EVENTS, EventType, FieldDef};
use hailer_abi::manifest::{Field, FieldKind};

use super::{Event, Plan, PlanBuilder, Projection, Slot};
use hailer_base::clock::Millis;

/// The fields that say when an event happened. A card's date of activation, which comes with a card, does not.
const NAMES: [&str; 2] = ["date_time", "change_date_time"];

/// Where the time is in the events of each code that has one.
#[derive(Debug)]
pub struct OwnTimes(HashMap<&'static str, (Plan, Slot)>);

impl Default for OwnTimes {
    fn default() -> Self {
        let mut known = HashMap::new();
        for event in EVENTS {
            let Some(field) = time_of(event) else { continue };
            for code in event.all_codes() {
                let mut plan = PlanBuilder::new();
                let slot = plan.add(&as_read(field));
                known.insert(code, (plan.build(), slot));
            }
        }
        OwnTimes(known)
    }
}

impl OwnTimes {
    /// The time of an event, if it has one.
    pub fn of(&self, event: &Event, projection: &mut Projection) -> Option<Millis> {
        let (plan, slot) = self.0.get(event.code())?;
        plan.project(event, projection);
        // The milliseconds are at the end of the extension.
        projection.get(*slot)?.last_chunk().map(|bytes| Millis::from_be_bytes(*bytes))
    }
}

fn time_of(event: &EventType) -> Option<&'static FieldDef> {
    let times = |field: &&FieldDef| field.kind == FieldKind::Timestamp && NAMES.contains(&field.name);
    event.fields.iter().find(times)
}

fn as_read(field: &FieldDef) -> Field {
    Field {
        name: field.name.to_owned(),
        kind: field.kind,
        paths: field.paths.iter().map(|path| (*path).to_owned()).collect(),
        required: false,
        personal: false,
        of: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchases_refunds_and_attributes_say_when_they_happened_and_others_do_not() {
        let times = OwnTimes::default();
        let mut projection = Projection::new();
        let mut own = |sample: &'static str| times.of(&Event::read(sample.into()).unwrap(), &mut projection);
        let told: Vec<_> = EVENTS.iter().filter(|event| own(event.sample).is_some()).map(|event| event.name).collect();
        assert_eq!(told, ["AttributeUpdated", "Purchase", "PurchaseRefund"]);
        let at =
            own(r#"{"eventCode":"OnPurchaseConfirm","purchaseOperationInfo":{"dateTime":"2026-03-01T08:00:00Z"}}"#);
        assert_eq!(at, Some(1_772_352_000_000));
        assert_eq!(own(r#"{"eventCode":"OnPurchaseConfirm","purchaseOperationInfo":{"dateTime":"today"}}"#), None);
    }
}
