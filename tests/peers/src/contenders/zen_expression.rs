//! zen-expression 2.1, the language of zen-engine without the engine: conditions compiled once
//! (`compile_expression`, as in its README), and run by one `VM` with one scope for all rules, so
//! that neither is created again. It gets three typed fields, like the other languages.

use hailer::communication::Communication;
use zen_expression::expression::Standard;
use zen_expression::vm::VM;
use zen_expression::{Expression, Scope, compile_expression};

use super::Contender;
use super::zen::Way;
use crate::messages::{BRAND, Message};
use crate::workload::{Rule, Workload};

pub(super) struct ZenExpression<'a> {
    workload: &'a Workload,
    rules: Vec<Expression<Standard>>,
    vm: VM,
}

const WAY: Way = Way::Fields;

impl<'a> ZenExpression<'a> {
    pub(super) fn new(workload: &'a Workload) -> ZenExpression<'a> {
        let [amount, brand, refund] = WAY.fields();
        let rule = |rule: &Rule| {
            let source = format!(
                "{amount} >= {} and {brand} == '{BRAND}' and not \
                {refund}",
                rule.threshold
            );
            compile_expression(&source).unwrap()
        };
        ZenExpression { workload, rules: workload.rules.iter().map(rule).collect(), vm: VM::new() }
    }
}

impl Contender for ZenExpression<'_> {
    fn name(&self) -> &'static str {
        "zen-expression"
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            let Some(event) = WAY.read(message) else { continue };
            let scope = Scope::new(event.variable.shallow_clone());
            for (rule, told) in self.rules.iter().zip(&self.workload.rules) {
                if rule.evaluate_with_scope(&scope, &mut self.vm).unwrap().as_bool() == Some(true) {
                    sent.push(event.send(told));
                }
            }
        }
    }
}
