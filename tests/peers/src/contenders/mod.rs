//! Who is compared. Each file says in its head how its engine is used, and which of its documentation says that it is fastest so.
//!
//! All have in common, to their advantage: the data of a message are written by the program around the engine, in Rust, unless the rule is a
//! program itself. And what an engine that takes documents is handed is the whole event, as its rules may read any of it; "three fields" stands
//! for the same with only what this rule reads, for which the program has to know its rules.

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

/// Something that decides on messages by the rules of one workload.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;

    /// Decides on each message, in their order, and adds what is to be sent.
    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>);
}

/// The one that the others are measured by.
pub(crate) const HAILER: &str = "hailer";
/// The floor.
pub(crate) const NATIVE: &str = "by hand";
pub(crate) const CEL: &str = "cel";
pub(crate) const DATALOGIC: &str = "datalogic-rs";
pub(crate) const EXTISM: &str = "extism";
pub(crate) const ZEN: &str = "zen-engine";

/// Everybody, with the rules loaded, and `HAILER` first. `modules` has what was compiled for the sandboxes.
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

/// A module of that directory.
fn module(modules: &Path, name: &str) -> Vec<u8> {
    let path = modules.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; scripts/bench.sh builds it", path.display()))
}
