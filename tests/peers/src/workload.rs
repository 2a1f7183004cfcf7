//! The workloads: the number of rules, and how many of them fire for each event.

use hailer::communication::Sender;

use crate::compose::{ENVIRONMENT, VERSION};
use crate::messages::{AMOUNT_MAX, AMOUNT_MIN};

/// A rule, as each contender gets it: from `threshold` on, a push with `template`.
pub(crate) struct Rule {
    pub(crate) campaign: String,
    pub(crate) threshold: u32,
    pub(crate) template: String,
    pub(crate) sender: Sender,
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) rules: Vec<Rule>,
    /// The number of rules that fire for every event.
    pub(crate) fires: usize,
}

pub(crate) fn all() -> Vec<Workload> {
    let workload = |name, count: u32, fires: u32| {
        let threshold = |rule| if rule < fires { AMOUNT_MIN - rule } else { AMOUNT_MAX + rule };
        let rule = |rule| Rule {
            campaign: format!("big-purchase-{rule}"),
            threshold: threshold(rule),
            template: format!("big-purchase-{rule}"),
            sender: Sender::new(&format!("big-purchase-{rule}"), VERSION, ENVIRONMENT),
        };
        Workload { name, rules: (0..count).map(rule).collect(), fires: fires as usize }
    };
    vec![
        workload("1 rule", 1, 1),
        workload("100 rules, all fire", 100, 100),
        workload("100 rules, 5 fire", 100, 5),
    ]
}
