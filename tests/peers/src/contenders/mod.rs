//! The contenders. Each file says how its engine is used, and which part of its documentation calls
//! that the fastest way.
//!
//! All contenders have two advantages. The program around the engine writes the data of a message,
//! in Rust, unless the rule is itself a program. An engine that takes documents gets the whole
//! event, because its rules may read any part of it; "three fields" means that it gets only the
//! fields of this rule, for which the program must know its rules.

mod hailer;
mod native;

mod cel;
mod datalogic;
mod extism;
mod rhai;
mod wasmi;
mod zen;
mod zen_expression;

use std::path::Path;

use ::hailer::communication::Communication;

use crate::messages::Message;
use crate::workload::Workload;

/// A contender: it decides on messages by the rules of one workload.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;

    /// Decides on each message, in order, and adds the communications.
    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>);
}

/// The contender that the others are compared with.
pub(crate) const HAILER: &str = "hailer";
/// The lower limit.
pub(crate) const NATIVE: &str = "by hand";
pub(crate) const CEL: &str = "cel";
pub(crate) const DATALOGIC: &str = "datalogic-rs";
pub(crate) const EXTISM: &str = "extism";
pub(crate) const ZEN: &str = "zen-engine";

/// All contenders, with loaded rules, and `HAILER` first. `modules` is the directory of the modules
/// for the sandboxes.
pub(crate) fn all<'a>(workload: &'a Workload, modules: &Path) -> Vec<Box<dyn Contender + 'a>> {
    let mut all = hailer::contenders(workload, modules);
    all.push(Box::new(native::Native::new(workload)));
    for way in [datalogic::Way::Document, datalogic::Way::Templates, datalogic::Way::Fields] {
        all.push(Box::new(datalogic::Datalogic::new(workload, way)));
    }
    all.push(Box::new(extism::Extism::new(workload, modules)));
    for way in [zen::Way::Document, zen::Way::Fields] {
        all.push(Box::new(zen::Zen::new(workload, way)));
    }
    all.push(Box::new(zen_expression::ZenExpression::new(workload)));
    all.push(Box::new(cel::Cel::new(workload)));
    all.push(Box::new(rhai::Rhai::new(workload)));
    all.push(Box::new(wasmi::Wasmi::new(workload, modules)));
    all
}

/// The bytes of a module.
fn module(modules: &Path, name: &str) -> Vec<u8> {
    let path = modules.join(name);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; scripts/bench.sh builds \
        it",
            path.display()
        )
    })
}
