//! The rule by hand, in the program itself: no sandbox, nothing to load, and a new rule needs a new
//! release.

use hailer::communication::Communication;
use hailer_peers_purchase::Rule;

use super::{Contender, NATIVE};
use crate::messages::{BRAND, Message};
use crate::typed::TypedEvent;
use crate::workload::Workload;

pub(super) struct Native<'a> {
    workload: &'a Workload,
    rules: Vec<Rule>,
}

impl<'a> Native<'a> {
    pub(super) fn new(workload: &'a Workload) -> Native<'a> {
        let rule = |rule: &crate::workload::Rule| Rule {
            threshold: rule.threshold.into(),
            brand: BRAND.to_owned(),
        };
        Native { workload, rules: workload.rules.iter().map(rule).collect() }
    }
}

impl Contender for Native<'_> {
    fn name(&self) -> &'static str {
        NATIVE
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            let Some(event) = TypedEvent::read(message) else { continue };
            for (rule, told) in self.rules.iter().zip(&self.workload.rules) {
                if rule.matches(&event.purchase) {
                    sent.push(event.send(told));
                }
            }
        }
    }
}
