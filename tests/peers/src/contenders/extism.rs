//! Extism 1.30 (wasmtime 43), the newest version that Rust 1.95 compiles. One plug-in is compiled
//! (`CompiledPlugin`); its instances are created once and reused ("Plugin::new_from_compiled"),
//! without WASI, which the plug-in does not need, and without a limit of time or fuel. A rule is an
//! instance that gets its parameters once. The event's bytes go in unchanged, and the answer is
//! borrowed from the plug-in's memory (`call::<&[u8], &[u8]>`): the ways of its README to pass
//! bytes without a conversion.
//!
//! The plug-in's code is `guests/extism`. It is called once for each rule, because a plug-in takes
//! one input at a time.

use std::path::Path;

use extism::{CompiledPlugin, Plugin, PluginBuilder};
use hailer::communication::Communication;
use hailer_peers_purchase::Rule;

use super::{Contender, EXTISM, module};
use crate::compose::send_answer;
use crate::messages::{BRAND, Message};
use crate::workload::Workload;

pub(super) struct Extism<'a> {
    workload: &'a Workload,
    plugins: Vec<Plugin>,
}

impl<'a> Extism<'a> {
    pub(super) fn new(workload: &'a Workload, modules: &Path) -> Extism<'a> {
        let wasm = module(modules, "hailer_peers_extism.wasm");
        // The cache would contain files of an earlier run.
        let compiled =
            CompiledPlugin::new(PluginBuilder::new(wasm.as_slice()).with_cache_disabled()).unwrap();
        let plugin = |rule: &crate::workload::Rule| {
            let mut plugin = Plugin::new_from_compiled(&compiled).unwrap();
            let rule = Rule { threshold: rule.threshold.into(), brand: BRAND.to_owned() };
            plugin.call::<_, ()>("configure", serde_json::to_vec(&rule).unwrap()).unwrap();
            plugin
        };
        Extism { workload, plugins: workload.rules.iter().map(plugin).collect() }
    }
}

impl Contender for Extism<'_> {
    fn name(&self) -> &'static str {
        EXTISM
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            for (plugin, rule) in self.plugins.iter_mut().zip(&self.workload.rules) {
                let answer: &[u8] = plugin.call("decide", &*message.body).unwrap();
                if !answer.is_empty() {
                    sent.push(send_answer(message, rule, answer));
                }
            }
        }
    }
}
