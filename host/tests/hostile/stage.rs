//! A small stage for campaigns: a sandbox, the guests of one shard, and events that differ only in
//! their seed.

#[path = "../../../tests/fixtures/hostile/mod.rs"]
pub(crate) mod fixtures;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hailer::engine::{
    Action, AdmissionError, Batch, BatchResult, CallResult, Campaign, CampaignSpec, GuestFault,
    Guests, Limits, RuleSet, Sandbox, read_manifest, verify,
};
use hailer::event::{Event, Projection};
use hailer_abi::manifest::Manifest;

pub(crate) struct Stage {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) guests: Guests,
    batch: Batch,
    decided: BatchResult,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage::with(Limits::default(), 0)
    }

    /// A stage on which one in this many calls is made again on a fresh instance.
    pub(crate) fn rechecking(one_in: u32) -> Stage {
        Stage::with(Limits::default(), one_in)
    }

    pub(crate) fn with(limits: Limits, recheck_one_in: u32) -> Stage {
        let sandbox = Sandbox::new(limits).unwrap();
        let guests = Guests::new(Arc::clone(&sandbox), recheck_one_in);
        Stage { sandbox, guests, batch: Batch::default(), decided: BatchResult::default() }
    }

    /// The campaign of a fixture: verified, compiled and tried. It is returned even if it faults on
    /// every sample, because these tests need its faults.
    pub(crate) fn campaign(&self, fixture: &str) -> Result<Arc<Campaign>, AdmissionError> {
        self.configured(fixture, &[0x80], 1)
    }

    /// The campaign of a fixture with encoded parameters and a generation.
    pub(crate) fn configured(
        &self,
        fixture: &str,
        params: &[u8],
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        match self.tried(fixture, params, generation) {
            Err(AdmissionError::Faulty { .. } | AdmissionError::Crossing { .. }) => {
                let (spec, compiled) = self.compiled(fixture, params);
                Campaign::started(&self.sandbox, spec, compiled, generation)
            }
            tried => tried,
        }
    }

    /// The campaign of a fixture, admitted as in an engine.
    pub(crate) fn tried(
        &self,
        fixture: &str,
        params: &[u8],
        generation: u64,
    ) -> Result<Arc<Campaign>, AdmissionError> {
        let (spec, compiled) = self.compiled(fixture, params);
        Campaign::admit(&self.sandbox, spec, compiled, generation)
    }

    fn compiled(&self, fixture: &str, params: &[u8]) -> (CampaignSpec, wasmtime::Module) {
        let module = verify(fixtures::module(fixture).into(), self.sandbox.limits()).unwrap();
        let spec = CampaignSpec::of(fixture, &module, params.to_vec());
        (spec, self.sandbox.compile_here(&module.bytes).unwrap())
    }

    /// Decides one event for each seed, in one batch.
    pub(crate) fn decide(&mut self, rules: &Arc<RuleSet>, seeds: &[u64]) -> &BatchResult {
        let event =
            Event::read(Bytes::from(format!(r#"{{"eventCode":"{}"}}"#, fixtures::EVENT_CODE)))
                .unwrap();
        let reading = rules.reading(event.code());
        let mut projection = Projection::new();
        reading.plan.project(&event, &mut projection);
        self.guests.adopt(rules);
        self.batch.open(rules);
        for (at, seed) in seeds.iter().enumerate() {
            for subscription in &reading.subscriptions {
                self.batch.add(subscription, at, 0, *seed, None, &projection).unwrap();
            }
        }
        self.guests.decide(&self.batch, &mut self.decided);
        &self.decided
    }

    /// Makes one call that `add` adds to the batch.
    pub(crate) fn decide_one(
        &mut self,
        rules: &Arc<RuleSet>,
        add: impl FnOnce(&mut Batch),
    ) -> &BatchResult {
        self.guests.adopt(rules);
        self.batch.open(rules);
        add(&mut self.batch);
        self.guests.decide(&self.batch, &mut self.decided);
        &self.decided
    }

    /// Decides one event for each seed with one fixture, and returns the results.
    pub(crate) fn outcomes(&mut self, fixture: &str, seeds: &[u64]) -> Vec<String> {
        let rules = rule_set([self.campaign(fixture).unwrap()]);
        results(self.decide(&rules, seeds))
    }
}

pub(crate) fn rule_set(campaigns: impl IntoIterator<Item = Arc<Campaign>>) -> Arc<RuleSet> {
    Arc::new(RuleSet::build(campaigns.into_iter().collect(), 1))
}

/// The manifest of the fixtures, with state or without.
pub(crate) fn manifest(remembers: bool) -> &'static Manifest {
    static MANIFESTS: LazyLock<[Manifest; 2]> = LazyLock::new(|| {
        [false, true].map(|it| read_manifest(fixtures::manifest("f", it).as_bytes()).unwrap())
    });
    &MANIFESTS[usize::from(remembers)]
}

/// The result of each call: its actions as text, or the kind of its fault.
pub(crate) fn results(decided: &BatchResult) -> Vec<String> {
    let text_of = |call: &CallResult| match &call.result {
        Ok(outcome) => outcome.actions.iter().map(action_text).collect::<Vec<_>>().join(","),
        Err(fault) => fault.kind().to_owned(),
    };
    decided.results.iter().map(text_of).collect()
}

/// The only fault of a batch.
pub(crate) fn fault_of(decided: &BatchResult) -> &GuestFault {
    let mut faults = decided.results.iter().filter_map(|call| call.result.as_ref().err());
    let only = faults.next().expect("there is a fault");
    assert_eq!(faults.next(), None, "there is one fault only");
    only
}

fn action_text(action: &Action) -> String {
    match action {
        Action::Note(text) => text.to_string(),
        Action::Send { channel, template, data } => format!("{} {template} {data}", channel.name()),
        Action::Schedule { timer, when } => format!("schedule {timer} {when:?}"),
        Action::Cancel { timer } => format!("cancel {timer}"),
    }
}
