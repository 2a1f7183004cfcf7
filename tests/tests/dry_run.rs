//! A dry run in memory decides the same as an engine: the same communications, byte for byte, with
//! timers and merges.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hailer::clock::Millis;
use hailer::dry_run::{Arrived, Decision, DryRun, Redirects, Settings};
use hailer::engine::{Campaign, CampaignSpec, Limits, RuleSet, Sandbox, encode_params, verify};
use hailer::event::Event;
use hailer_tests::built::example_module;
use hailer_tests::site::{Site, campaign};
use serde::Deserialize;
use serde_json::value::RawValue;

const NAMES: [&str; 9] = [
    "abandoned-registration",
    "big-basket",
    "event-watch",
    "last-channel-lost",
    "merge-notice",
    "nth-purchase",
    "refund-after-reward",
    "welcome",
    "win-back",
];
const DAY_MS: Millis = 86_400_000;
const RUN_ON_DAYS: Millis = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    message_id: String,
    timestamp: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[test]
fn a_dry_run_decides_the_same_communications_as_an_engine() {
    let site = Site::empty();
    for name in NAMES {
        site.put(&format!("modules/{name}.wasm"), example_module(name));
        site.put(&format!("{name}.toml"), campaign(name, ""));
    }
    let generate =
        ["events", "--generate", "4000", "--seed", "11", "--customers", "60", "--envelope"];
    let events = site.command_without_data(&generate).expect(0).stdout;
    let source = format!("file:{}", site.write("events.jsonl", &events).display());
    let minutes = (RUN_ON_DAYS * 24 * 60).to_string();
    let flags =
        ["--source", &source, "--sink", "-", "--clock", "events", "--run-on-minutes", &minutes];
    let sent = site.run(&[&flags[..], &["--environment", "test"]].concat()).expect(0).stdout;
    let sent: BTreeSet<&str> = sent.lines().collect();

    let decisions = dry_run_decisions(&events);
    let communications = || decisions.iter().flat_map(|decision| &decision.communications);
    let in_dry_run: BTreeSet<&str> =
        communications().map(|sent| std::str::from_utf8(&sent.body).unwrap()).collect();
    let timers = decisions.iter().filter(|decision| decision.number.is_none()).count();
    assert!(timers > 50 && sent.len() > 1000, "{timers} timers, {} communications", sent.len());
    assert!(events.contains("MergeCustomersProfiles"));
    let (more, fewer): (Vec<_>, Vec<_>) =
        (in_dry_run.difference(&sent).collect(), sent.difference(&in_dry_run).collect());
    assert!(
        more.is_empty() && fewer.is_empty(),
        "only in the dry run: {more:#?}\nonly from the engine: {fewer:#?}"
    );
}

fn dry_run_decisions(events: &str) -> Vec<Decision> {
    let sandbox = Sandbox::new(Limits::default()).unwrap();
    let campaigns = NAMES.map(|name| {
        let module = verify(example_module(name).into(), &Limits::default()).unwrap();
        let params = encode_params(&module.manifest.params, &toml::de::DeTable::new()).unwrap();
        let spec = CampaignSpec::of(name, &module, params);
        Campaign::started(&sandbox, spec, sandbox.compile_here(&module.bytes).unwrap(), 1).unwrap()
    });
    let rules = Arc::new(RuleSet::build(campaigns.into(), 1));
    let settings = Settings {
        environment: "test".into(),
        recheck_one_in: 0,
        begins: 0,
        gives_up: None,
        are_distinct: false,
    };
    let mut dry_run = DryRun::new(&rules, &sandbox, &settings, Redirects::in_memory()).unwrap();
    let arrived = events.lines().zip(0..).map(|(line, number)| {
        let Line { message_id, timestamp, body } = serde_json::from_str(line).unwrap();
        let now = timestamp.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let event = Event::read(Bytes::copy_from_slice(body.get().as_bytes())).unwrap();
        Arrived::new(event, Some(&message_id), None, now, number)
    });
    let arrived: Vec<Arrived> = arrived.collect();
    let mut decisions = Vec::new();
    let mut arrived = arrived.into_iter().peekable();
    while arrived.peek().is_some() {
        decisions.extend(dry_run.decide(arrived.by_ref().take(500), 0).unwrap());
    }
    let until = dry_run.clock() + RUN_ON_DAYS * DAY_MS;
    decisions.extend(dry_run.advance(until).unwrap());
    decisions
}
