//! Hailer, on its own path: it checks the whole body, hashes it for the identity, detects copies,
//! projects fields, evaluates conditions, calls the rule in its sandbox with a deadline, repeats
//! one call in a thousand, and applies policies; then it writes communications. This is the engine
//! without sources and sinks: a dry run, which decides as a shard does.
//!
//! A batch has 32 events, as in a busy shard; one variant decides each event alone. The hundred
//! rules are campaigns of one module with different parameters, as intended. One variant has a
//! module for each (the same code, so that it shows the cost of cold code).

use std::path::Path;
use std::sync::Arc;

use hailer::communication::Communication;
use hailer::dry_run::{Arrived, DryRun, Redirects, Settings};
use hailer::engine::{Campaign, CampaignSpec, Limits, RuleSet, Sandbox, encode_params, verify};
use hailer::event::Event;
use toml::de::DeTable;

use super::{Contender, HAILER, module};
use crate::compose::ENVIRONMENT;
use crate::messages::{BEGINS, BRAND, Message};
use crate::workload::Workload;

const BATCH: usize = 32;
/// The engine's default.
const RECHECK_ONE_IN: u32 = 1000;

struct Hailer {
    name: &'static str,
    batch: usize,
    dry_run: DryRun,
}

pub(super) fn contenders<'a>(workload: &Workload, modules: &Path) -> Vec<Box<dyn Contender + 'a>> {
    let wasm = module(modules, "big-purchase.wasm");
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let shared = rules(&sandbox, workload, &[wasm.clone()]);
    let hailer = |name, batch, rules: &Arc<RuleSet>| -> Box<dyn Contender + 'a> {
        let settings = Settings {
            environment: ENVIRONMENT.into(),
            recheck_one_in: RECHECK_ONE_IN,
            begins: BEGINS,
            gives_up: None,
            // The engine recognises copies; so does this contender.
            are_distinct: false,
        };
        let dry_run = DryRun::new(rules, &sandbox, &settings, Redirects::in_memory()).unwrap();
        Box::new(Hailer { name, batch, dry_run })
    };
    let mut all = vec![
        hailer(HAILER, BATCH, &shared),
        hailer(
            "hailer, one event at a \
        time",
            1,
            &shared,
        ),
    ];
    if workload.rules.len() > 1 {
        let own: Vec<_> =
            (0..workload.rules.len()).map(|number| with_number(&wasm, number)).collect();
        all.push(hailer("hailer, each rule a module", BATCH, &rules(&sandbox, workload, &own)));
    }
    all
}

/// A campaign for each rule; the modules take turns.
fn rules(sandbox: &Arc<Sandbox>, workload: &Workload, modules: &[Vec<u8>]) -> Arc<RuleSet> {
    let compiled: Vec<_> = modules
        .iter()
        .map(|wasm| {
            (
                verify(wasm.as_slice().into(), sandbox.limits()).unwrap(),
                sandbox.compile_here(wasm).unwrap(),
            )
        })
        .collect();
    let campaigns =
        workload.rules.iter().zip(compiled.iter().cycle()).map(|(rule, (module, compiled))| {
            let params = format!(
                "threshold = '{}'\nbrand = '{BRAND}'\ntemplate = \
            '{}'",
                rule.threshold, rule.template
            );
            let params = encode_params(
                &module.manifest.params,
                &DeTable::parse(&params).unwrap().into_inner(),
            )
            .unwrap();
            let spec = CampaignSpec::of(&rule.campaign, module, params);
            Campaign::admit(sandbox, spec, compiled.clone(), 1).unwrap()
        });
    Arc::new(RuleSet::build(campaigns.collect(), 1))
}

/// The same code in a module of its own: with another custom section.
fn with_number(wasm: &[u8], number: usize) -> Vec<u8> {
    let content = format!("\x04peer{number:04}");
    [wasm, &[0, content.len() as u8], content.as_bytes()].concat()
}

impl Contender for Hailer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for batch in messages.chunks(self.batch) {
            let arrived = batch.iter().map(|message| {
                let event = Event::read(message.body.clone()).unwrap();
                Arrived::new(event, Some(&message.id), None, message.now, message.number)
            });
            let until = batch.last().map_or(BEGINS, |message| message.now);
            for decision in self.dry_run.decide(arrived, until).unwrap() {
                sent.extend(decision.communications);
            }
        }
    }
}
