//! The cost of a module's calls, against the limits of an engine with the same configuration.
//! `build`, `inspect` and `bench` show it.

use serde::Serialize;
use toml::de::DeTable;

use super::output;
use crate::daemon;
use crate::engine::{Limits, SampleCost, Sandbox, VerifiedModule, encode_params};

/// The cost of a module's calls, or the reason why it is not known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Costs {
    Cost(Vec<SampleCost>),
    CostUnknown(String),
}

impl Costs {
    /// The cost with default parameters. A module that cannot be called with defaults is no error:
    /// its other facts are still shown.
    pub(super) fn of(module: &VerifiedModule, limits: &Limits) -> Costs {
        let Ok(params) = encode_params(&module.manifest.params, &DeTable::new()) else {
            return Costs::CostUnknown(
                "a parameter has no default: run hailer bench MODULE --campaign FILE".into(),
            );
        };
        match daemon::measure(module, &params, limits, false) {
            Ok(costs) => Costs::Cost(costs),
            Err(error) => Costs::CostUnknown(format!("{error:#}")),
        }
    }

    pub(super) fn text(&self, limits: &Limits) -> String {
        match self {
            Costs::Cost(costs) => table(costs, limits),
            Costs::CostUnknown(reason) => format!("cost unknown: {reason}\n"),
        }
    }
}

/// A table with one row for each sample.
pub(super) fn table(costs: &[SampleCost], limits: &Limits) -> String {
    if costs.is_empty() {
        return "takes none of the catalogue's events\n".to_owned();
    }
    let fuel_max = Sandbox::fuel_of(limits);
    let is_timed = costs.iter().any(|cost| cost.nanoseconds.is_some());
    let row = |cost: &SampleCost| {
        let called_by = cost.called_by.clone();
        if let Some(fault) = &cost.fault {
            return [
                called_by,
                cost.handler.clone(),
                fault.clone(),
                String::new(),
                String::new(),
                String::new(),
            ];
        }
        let time =
            cost.nanoseconds.map_or_else(String::new, |nanoseconds| format!("{nanoseconds:.0} ns"));
        let state = cost
            .state_bytes
            .map_or_else(|| "-".to_owned(), |bytes| against(bytes, limits.state_bytes_max));
        [
            called_by,
            cost.handler.clone(),
            format!("{} ({})", cost.fuel, share(cost.fuel, fuel_max)),
            if is_timed { time } else { against(cost.memory_bytes, limits.memory_bytes_max) },
            against(cost.output_bytes, limits.output_bytes_max),
            state,
        ]
    };
    let third = if is_timed { "time" } else { "memory" };
    output::table(["called by", "handler", "fuel", third, "output", "state"], costs.iter().map(row))
}

/// A size, and its percentage of the limit.
pub(super) fn against(bytes: usize, limit: usize) -> String {
    format!("{} ({})", output::size(bytes as u64), share(bytes as u64, limit as u64))
}

fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    match percent {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "< 0.01 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        percent if percent <= 100.0 => format!("{percent:.0} %"),
        percent => format!("{percent:.0} %, OVER THE LIMIT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_shown_beside_its_limit() {
        let cost = |called_by: &str, fuel, fault: Option<&str>| SampleCost {
            handler: "purchase".into(),
            called_by: called_by.into(),
            fuel,
            memory_bytes: 131_072,
            output_bytes: 70_000,
            state_bytes: Some(20),
            nanoseconds: None,
            fault: fault.map(Into::into),
        };
        let costs = [
            cost("OnPurchaseConfirm", 1234, None),
            cost("OnRefund", 9_999_999, None),
            cost("nudge", 0, Some("the rule panicked: no, at src/lib.rs:7")),
        ];
        insta::assert_snapshot!(table(&costs, &Limits::default()));
        let timed = SampleCost { nanoseconds: Some(321.4), ..costs[0].clone() };
        assert!(table(&[timed], &Limits::default()).contains("321 ns"));
    }
}
