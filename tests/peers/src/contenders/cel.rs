//! cel 0.15 (the Common Expression Language), used as in its own benchmark: programs compiled once,
//! one environment for all, variables from a `VariableResolver` that lends typed values ("avoiding
//! HashMap lookup/creation"), borrowed texts, and `Value::resolve_val`, which copies no result. The
//! rule's own struct reads the event, as by hand, so the language gets three variables and no
//! document.

use std::sync::Arc;

use cel::common::types::{CelBool, CelDouble, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, Program, Value};
use hailer::communication::Communication;

use super::{CEL, Contender};
use crate::messages::{BRAND, Message};
use crate::typed::TypedEvent;
use crate::workload::{Rule, Workload};

pub(super) struct Cel<'a> {
    workload: &'a Workload,
    env: Arc<Env>,
    rules: Vec<Program>,
}

struct Variables<'a> {
    amount: CelDouble,
    brand: CelString<'a>,
    refund: CelBool,
}

impl<'a> Cel<'a> {
    pub(super) fn new(workload: &'a Workload) -> Cel<'a> {
        let env = Arc::new(Env::stdlib());
        let rule = |rule: &Rule| {
            env.compile(&format!(
                "amount >= {}.0 && brand == '{BRAND}' && \
                !refund",
                rule.threshold
            ))
            .unwrap()
        };
        let rules = workload.rules.iter().map(rule).collect();
        Cel { workload, env, rules }
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match name {
            "amount" => Some(CowVal::Borrowed(&self.amount)),
            "brand" => Some(CowVal::Borrowed(&self.brand)),
            "refund" => Some(CowVal::Borrowed(&self.refund)),
            _ => None,
        }
    }
}

impl Contender for Cel<'_> {
    fn name(&self) -> &'static str {
        CEL
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            let Some(event) = TypedEvent::read(message) else { continue };
            let variables = Variables {
                amount: event.amount().into(),
                brand: event.brand().into(),
                refund: event.is_refund().into(),
            };
            let mut context = Context::with_env(Arc::clone(&self.env));
            context.set_variable_resolver(&variables);
            for (rule, told) in self.rules.iter().zip(&self.workload.rules) {
                let result = Value::resolve_val(rule.expression(), &context).unwrap();
                if result.downcast_ref::<CelBool>().is_some_and(|fires| *fires.inner()) {
                    sent.push(event.send(told));
                }
            }
        }
    }
}
