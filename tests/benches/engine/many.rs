//! Resident memory of an engine: idle, and with 100 and 1000 rules, each a module of its own. The
//! modules are copies of the example rules, each with a section that gives it a digest, an artifact
//! and instances of its own. The events call all of them. Also measured: the time until an engine
//! with 1000 rules and cached artifacts runs again, and the same for 10,000 campaigns of one
//! module, each for a brand that no event has.

use std::fs;
use std::time::{Duration, Instant};

use crate::measure::{Against, Outcome, listed, mark, median, resident_mb};
use hailer::generate::{Generator, Options};
use hailer_tests::built;
use hailer_tests::engine::Engine;
use hailer_tests::site::Site;
use hailer_tests::wait;

/// The numbers of rules and of events: enough to call each code's rules in full batches on every
/// shard.
const HUNDRED: (usize, usize) = (100, 30_000);
const THOUSAND: (usize, usize) = (1000, 3000);
const CAMPAIGNS: (usize, usize) = (10_000, 3000);
const SHARDS: usize = 2;
const STARTS: usize = 3;
/// The allocator returns the memory of a burst within one or two seconds.
const AFTERWARDS: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Compiling a thousand modules takes minutes on one core.
const COMPILED_WITHIN: Duration = Duration::from_secs(900);
const IDLE_MB_MAX: f64 = 40.0;
const HUNDRED_MB_MAX: f64 = 100.0;
const THOUSAND_MB_MAX: f64 = 250.0;
const RULE_KB_MAX: f64 = 100.0;
const START_SECONDS_MAX: f64 = 1.0;
const CAMPAIGNS_MB_MAX: f64 = 600.0;
const CAMPAIGNS_START_SECONDS_MAX: f64 = 5.0;
/// The many outcomes of each event would fill any store cache; a small cache shows the memory of
/// the rules alone.
const SMALL_CACHE: &str = "store.cache_bytes=4194304";
const DEFAULT_CACHE: &str = "store.cache_bytes=67108864";
const DECIDED: &str = "hailer_events_total{outcome=\"decided\"}";
const UNSUBSCRIBED: &str = "hailer_events_total{outcome=\"unsubscribed\"}";

pub(crate) async fn run() -> Outcome<()> {
    let without = site(0)?;
    let engine = start(&without, 0, DEFAULT_CACHE).await?;
    let (idle, _) = resident_mb(&engine).await?;
    engine.stop().await;
    mark("resident, idle", idle, Against::AtMost(IDLE_MB_MAX), " MB", "without a rule or an event");

    let (count, events) = HUNDRED;
    let none = after_events(&site(0)?, 0, events, SMALL_CACHE).await?;
    let hundred = after_events(&site(count)?, count, events, SMALL_CACHE).await?;
    let with_cache = after_events(&site(count)?, count, events, DEFAULT_CACHE).await?;
    let beside = format!(
        "three seconds after the events; {none:.0} MB without a rule, {with_cache:.0} MB with the \
         store's whole cache"
    );
    mark(
        "resident with 100 rules, each a module",
        hundred,
        Against::AtMost(HUNDRED_MB_MAX),
        " MB",
        &beside,
    );

    let (count, events) = THOUSAND;
    let many = site(count)?;
    let seconds = starts(&many, count, "all of which it has to compile").await?;
    let beside = format!("their artifacts were kept; starts {}", listed(&seconds, 2));
    mark(
        "start with 1000 rules",
        median(seconds),
        Against::AtMost(START_SECONDS_MAX),
        " s",
        &beside,
    );
    let none = after_events(&site(0)?, 0, events, SMALL_CACHE).await?;
    let thousand = after_events(&many, count, events, SMALL_CACHE).await?;
    let beside = format!("two shards, three seconds after the events; {none:.0} MB without a rule");
    mark(
        "resident with 1000 rules, each a module",
        thousand,
        Against::AtMost(THOUSAND_MB_MAX),
        " MB",
        &beside,
    );
    let each = (thousand - none) * 1e3 / (count * SHARDS) as f64;
    mark("a rule on a shard", each, Against::AtMost(RULE_KB_MAX), " kB", "of the thousand");

    let (count, events) = CAMPAIGNS;
    let campaigns = of_one_module(count);
    let seconds = starts(&campaigns, count, "all of which it has to try").await?;
    mark(
        "start with 10000 campaigns of one module",
        median(seconds.clone()),
        Against::AtMost(CAMPAIGNS_START_SECONDS_MAX),
        " s",
        &format!("they ran before; starts {}", listed(&seconds, 2)),
    );
    let resident = after_events(&campaigns, count, events, SMALL_CACHE).await?;
    mark(
        "resident with 10000 campaigns of one module",
        resident,
        Against::AtMost(CAMPAIGNS_MB_MAX),
        " MB",
        &format!("with conditions that no event fulfils; {none:.0} MB without a rule"),
    );
    Ok(())
}

/// The seconds of some starts with this many rules, after the first one.
async fn starts(site: &Site, rules: usize, first: &str) -> Outcome<Vec<f64>> {
    let mut seconds = Vec::new();
    for _ in 0..=STARTS {
        let began = Instant::now();
        let engine = start(site, rules, SMALL_CACHE).await?;
        seconds.push(began.elapsed().as_secs_f64());
        engine.stop().await;
    }
    println!("the first start with {rules} rules, {first}: {:.1} s", seconds.remove(0));
    Ok(seconds)
}

/// A site with this many campaigns of one module, each for another brand.
fn of_one_module(campaigns: usize) -> Site {
    let site = Site::empty();
    site.put("modules/big-basket.wasm", built::example_module("big-basket"));
    for number in 0..campaigns {
        let text = format!(
            "module = \"modules/big-basket.wasm\"\nmode = \"live\"\n\n[params]\n\
             threshold = \"1.00\"\nbrand = \"brand-{number}\"\n"
        );
        site.put(&format!("brand-{number}.toml"), text);
    }
    site
}

/// A site with this many rules.
fn site(rules: usize) -> Outcome<Site> {
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
        site.put(&format!("modules/{own}.wasm"), distinct(module, number as u16));
        let file = format!("modules/{name}.wasm");
        assert!(text.contains(&file), "{name} names its module");
        site.put(&format!("{own}.toml"), text.replace(&file, &format!("modules/{own}.wasm")));
    }
    Ok(site)
}

/// Starts an engine with this many rules, and waits until all run. Its store is on disk: a store in
/// memory would be measured, too.
async fn start(site: &Site, rules: usize, cache: &str) -> Outcome<Engine> {
    let store = site.path("store").display().to_string();
    let shards = SHARDS.to_string();
    let flags =
        ["--source", "-", "--sink", "-", "--store", &store, "--shards", &shards, "--set", cache];
    let engine = site.start(&flags);
    // Without a rule the engine is never ready, so this waits for the number of rules.
    let all_run = async {
        while !engine.client.campaigns().await.is_ok_and(|campaigns| campaigns.len() == rules) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(COMPILED_WITHIN, all_run).await.map_err(|_| "the rules do not run")?;
    Ok(engine)
}

/// Resident memory after an engine with this many rules has decided this many events.
async fn after_events(site: &Site, rules: usize, count: usize, cache: &str) -> Outcome<f64> {
    let lines = Generator::new(1, &Options::default()).map(|event| [event, vec![b'\n']].concat());
    let mut engine = start(site, rules, cache).await?;
    engine.write(lines.take(count).collect::<Vec<_>>().concat());
    wait::until("all events have been decided", async || {
        engine.metric(DECIDED).await + engine.metric(UNSUBSCRIBED).await >= count as f64
    })
    .await;
    let (busy, most) = resident_mb(&engine).await?;
    tokio::time::sleep(AFTERWARDS).await;
    let (now, _) = resident_mb(&engine).await?;
    println!(
        "with {rules} rules, {cache}: {now:.1} MB resident {AFTERWARDS:.0?} after {count} events \
         of every kind, {busy:.1} right after them, {most:.1} at most"
    );
    engine.close_input();
    engine.ended().await;
    Ok(now)
}

/// The same module with different bytes: with a custom section at its end.
fn distinct(module: &[u8], number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let section = [0, 7, 4, b'o', b'w', b'n', b':', high, low];
    [module, &section[..]].concat()
}
