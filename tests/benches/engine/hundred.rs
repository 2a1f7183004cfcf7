//! What the engine has resident with a hundred rules, each a module of its own: the example rules, over and over, each copy with a section that
//! makes its digest, its artifact and its instances its own. They see every kind of event, so that all of them have been called.

use std::fs;

use crate::measure::{Against, Outcome, mark, resident_mb};
use hailer::generate::{Generator, Options};
use hailer_tests::built;
use hailer_tests::site::Site;
use hailer_tests::wait;

const RULES: usize = 100;
const EVENTS: usize = 30_000;
const RESIDENT_MB_MAX: f64 = 100.0;
/// A hundred outcomes of each event make a journal that fills any cache; what the rules take is seen without it.
const SMALL_CACHE: &str = "store.cache_bytes=4194304";
const DEFAULT_CACHE: &str = "store.cache_bytes=67108864";
const DECIDED: &str = "hailer_events_total{outcome=\"decided\"}";
const UNSUBSCRIBED: &str = "hailer_events_total{outcome=\"unsubscribed\"}";

pub(crate) async fn run() -> Outcome<()> {
    let lines = Generator::new(1, &Options::default()).map(|event| [event, vec![b'\n']].concat());
    let events = lines.take(EVENTS).collect::<Vec<_>>().concat();
    let (none, _) = resident(0, &events, SMALL_CACHE).await?;
    let (with_rules, kinds) = resident(RULES, &events, SMALL_CACHE).await?;
    let (with_cache, _) = resident(RULES, &events, DEFAULT_CACHE).await?;
    let beside =
        format!("of {kinds} kinds; {none:.0} MB without a rule, {with_cache:.0} MB with the store's whole cache");
    let name = "resident with 100 rules, each a module of its own";
    mark(name, with_rules, Against::AtMost(RESIDENT_MB_MAX), " MB", &beside);
    Ok(())
}

/// What is resident once all events have been decided, and how many kinds of rules there were.
async fn resident(rules: usize, events: &[u8], cache: &str) -> Outcome<(f64, usize)> {
    let site = Site::empty();
    let mut examples = Vec::new();
    for entry in fs::read_dir(built::example_rules())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a name")?.to_owned();
            examples.push((name.clone(), fs::read_to_string(&path)?, built::example_module(&name)));
        }
    }
    examples.sort();
    for (number, (name, text, module)) in examples.iter().cycle().take(rules).enumerate() {
        let own = format!("{name}-{number}");
        site.put(&format!("modules/{own}.wasm"), distinct(module, number as u8));
        let file = format!("modules/{name}.wasm");
        assert!(text.contains(&file), "{name} names its module");
        site.put(&format!("{own}.toml"), text.replace(&file, &format!("modules/{own}.wasm")));
    }
    // On the disk: a store in memory would be measured with the rules.
    let store = site.path("store").display().to_string();
    let mut engine = site.start(&["--source", "-", "--sink", "-", "--store", &store, "--set", cache]);
    wait::until("the engine runs", async || engine.client.status().await.is_ok()).await;
    assert_eq!(engine.client.campaigns().await?.len(), rules);
    engine.write(events);
    wait::until("all events have been decided", async || {
        engine.metric(DECIDED).await + engine.metric(UNSUBSCRIBED).await >= EVENTS as f64
    })
    .await;
    let (now, _) = resident_mb(&engine).await?;
    println!("with {rules} rules, {cache}: {now:.1} MB resident after {EVENTS} events of every kind");
    engine.close_input();
    engine.ended().await;
    Ok((now, examples.len()))
}

/// The same module with other bytes: a custom section at its end.
fn distinct(module: &[u8], number: u8) -> Vec<u8> {
    let section = [0, 6, 4, b'o', b'w', b'n', b':', number];
    [module, &section[..]].concat()
}
