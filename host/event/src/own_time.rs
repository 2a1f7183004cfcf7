//! The time of an event according to its body. The catalogue of events says which field has it.

use std::collections::HashMap;

use hailer_abi::catalogue::{EVENTS, EventType, FieldDef};
use hailer_abi::manifest::{Field, FieldKind};

use super::{Event, Plan, PlanBuilder, Projection, Slot};
use hailer_base::clock::Millis;

/// The fields with the time at which an event happened. The activation date of a card is no such
/// time.
const NAMES: [&str; 2] = ["date_time", "change_date_time"];

/// The plan that reads the time of an event, for each event code whose events have one.
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
    /// Returns the time of an event in milliseconds since 1970-01-01 UTC; `None` if it has none.
    pub fn of(&self, event: &Event, projection: &mut Projection) -> Option<Millis> {
        let (plan, slot) = self.0.get(event.code())?;
        plan.project(event, projection);
        // The milliseconds are the last bytes of the extension value.
        projection.get(*slot)?.last_chunk().map(|bytes| Millis::from_be_bytes(*bytes))
    }
}

fn time_of(event: &EventType) -> Option<&'static FieldDef> {
    let times =
        |field: &&FieldDef| field.kind == FieldKind::Timestamp && NAMES.contains(&field.name);
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
    fn only_purchases_refunds_and_attributes_have_a_time() {
        let times = OwnTimes::default();
        let mut projection = Projection::new();
        let mut own =
            |sample: &'static str| times.of(&Event::read(sample.into()).unwrap(), &mut projection);
        let with_time: Vec<_> = EVENTS
            .iter()
            .filter(|event| own(event.sample).is_some())
            .map(|event| event.name)
            .collect();
        assert_eq!(with_time, ["AttributeUpdated", "Purchase", "PurchaseRefund"]);
        let at = own(concat!(
            r#"{"eventCode":"OnPurchaseConfirm","#,
            r#""purchaseOperationInfo":{"dateTime":"2026-03-01T08:00:00Z"}}"#
        ));
        assert_eq!(at, Some(1_772_352_000_000));
        assert_eq!(
            own(
                r#"{"eventCode":"OnPurchaseConfirm","purchaseOperationInfo":{"dateTime":"today"}}"#
            ),
            None
        );
    }
}
