//! Where the rooms are wired: one engine, from its start to its end.
//!
//! The order matters. The data directory is taken first, so that two engines never share it; the rules are loaded
//! before the source is opened; the way out is checked before the first event is taken; and at the end the source stops before what it delivered
//! is drained.

mod address_space;
mod checks;
mod measure;
mod resources;
mod signals;
mod stage;
mod summary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use crate::address::{self, Address};
use crate::clock::{self, Millis};
use crate::config::{Config, DEAD_LETTERS_FILE, LISTEN_OF_A_SERVICE, StoreConfig};
use crate::control::{self, Control, EngineStatus, Http, Observed, StoreDoor};
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::metrics;
use crate::pipeline::{
    Clock, Contradiction, Door, Doorway, IN_FLIGHT_FILE, Keeping, LettersBound, Pipeline, PipelineError, Retention,
    Rules, Settings, Suspects, Tally, doubt_at_start,
};
use crate::recording::Recording;
use crate::reload::{self, LoadReport, Owner, ReloadError, ReloadHandle};
use crate::shutdown::{Shutdown, ShutdownTrigger};
use crate::sinks::{AnyDeadLetters, AnySink, SinkError};
use crate::sources::{Source, SourceError};
use crate::store::{FileStore, MemoryStore, Opening, Store, StoreError};
pub use checks::{
    Beside, Finding, Level, TopologyReport, check_address_space, check_broker, check_recording, check_rules,
    load_rules, topology,
};
pub use measure::measure;
use resources::Resources;
pub use resources::check_disk;
use stage::EngineStage;
pub use stage::Loader;
pub use summary::Summary;

const HOUR_MS: Millis = 3_600_000;

/// The rooms that publish.
const SINK_ROOMS: [&str; 2] = ["sink", "deadletters"];
/// A draining engine does not wait for a sink that has been unready for so long.
const STUCK_AFTER: Duration = Duration::from_secs(2);
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// The longest that the parts of an engine with a store may take to end when the time for draining is up.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

const ORDERS_FORGOTTEN: &str = "ended before a pause, a resumption or a suspension was written down; `hailer campaigns` says what the next start does";
const NOT_DRAINED: &str = "ended before everything was drained; what was not acknowledged will be delivered again";

/// Runs the engine until its source ends or it is told to stop, and says what it did.
///
/// # Errors
/// When it can't start, or ends before its time.
pub fn run(config: Config) -> anyhow::Result<Summary> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    let result = runtime.block_on(run_until_told(config));
    // Reading standard input can't be interrupted; its thread ends with the process.
    runtime.shutdown_background();
    result
}

/// The child process in which a module is compiled: the whole of `hailer compile-module`.
#[must_use]
pub fn compile_child() -> u8 {
    reload::compile_child_main(|limits, compatibility, wasm| {
        Sandbox::precompile(limits, compatibility, wasm).map_err(|error| error.to_string())
    })
}

/// Everything that runs beside the pipeline and ends with it.
struct Surroundings {
    reload: ReloadHandle,
    first_load: LoadReport,
    current: Arc<ArcSwap<RuleSet>>,
    sandbox: Arc<Sandbox>,
    store: Arc<dyn Store>,
    health: Health,
}

/// Tasks that end with the engine.
struct Background {
    /// The owner of the rules' directory: without it nothing can be swapped any more.
    owner: JoinHandle<Result<(), ReloadError>>,
    /// Those that answer commands, and questions for metrics and health.
    answering: Vec<JoinHandle<()>>,
}

async fn run_until_told(config: Config) -> anyhow::Result<Summary> {
    let started_ms = clock::now_ms();
    let (trigger, shutdown) = Shutdown::new();
    // Before anybody can see that it runs: who tells a ready engine to stop means that it should drain.
    let trigger = signals::listen(trigger, Duration::from_millis(config.drain_ms))?;
    let (surroundings, doorway, mut background) = tokio::select! {
        surrounded = surround(&config, started_ms, &shutdown) => surrounded?,
        () = shutdown.ended() => anyhow::bail!(NOT_DRAINED),
    };
    let health = &surroundings.health;

    let ran = tokio::select! {
        // Asked first, as it may have something better to say at the very end.
        biased;
        ran = run_pipeline(&config, &surroundings, doorway, &shutdown) => ran,
        ended = &mut background.owner => {
            ended.context("the owner of the rules' directory stopped unexpectedly")??;
            anyhow::bail!(NOT_DRAINED)
        }
        () = ended_for_long(&config, &shutdown) => anyhow::bail!(NOT_DRAINED),
    };
    // The owner may still read the directory. A suspension that is not written down would be forgotten.
    tokio::select! {
        biased;
        () = surroundings.reload.orders_are_written() => {}
        _ = &mut background.owner => tracing::error!(ORDERS_FORGOTTEN),
        () = shutdown.ended() => tracing::error!(ORDERS_FORGOTTEN),
    }
    let (tally, not_recorded) = ran?;
    let problems = health.problems();
    let other_form = health.complaints().remove("source").filter(|_| !problems.contains_key("source"));
    drop(trigger);
    for task in background.answering {
        task.abort();
    }
    background.owner.abort();
    let elapsed_ms = clock::now_ms() - started_ms;
    Ok(Summary { tally, not_recorded, elapsed_ms, first_load: surroundings.first_load, problems, other_form })
}

/// Takes the data directory, loads the rules, and opens the socket and the HTTP port. Requests that change what is kept come through the
/// doorway, once there is a pipeline.
async fn surround(
    config: &Config,
    started_ms: i64,
    shutdown: &Shutdown,
) -> anyhow::Result<(Surroundings, Doorway, Background)> {
    let health = Health::default();
    health.expect("source");
    let recorder = metrics::install().context("no metrics")?;
    metrics::begin();
    show_connected(config);
    let control = Control::bind(&config.data)?;
    let http = Http::bind(listen_of(config)).await?;
    let store = open_store(config)?;
    let sandbox = Sandbox::new(config.limits.clone())?;
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let stage = EngineStage::open(config, Arc::clone(&sandbox), Arc::clone(&current))?;
    let (reload, requests) = ReloadHandle::new();
    let opening = (config.clone(), health.clone());
    // One in memory outlives nothing.
    let lasting = config.store_dir().is_some().then(|| Arc::clone(&store));
    let opened = tokio::task::spawn_blocking(move || Owner::open(&opening.0, stage, opening.1, lasting));
    let (owner, first_load) = opened.await.context("loading the rules was interrupted")??;
    let about = EngineStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started_ms,
        environment: config.environment.clone(),
        source: address::redacted(&config.source),
        queue: config.is_service().then(|| config.rabbitmq.queue.clone()),
        sink: address::redacted(&config.sink),
        rules: config.rules.display().to_string(),
        store: config.store_dir().map(|dir| dir.canonicalize().unwrap_or(dir)),
        http: http.as_ref().map(|http| http.address().to_string()),
        problems: std::collections::BTreeMap::new(),
        standbys: std::collections::BTreeMap::new(),
    };
    let door = StoreDoor::new(&store, about.store.clone(), Arc::clone(&current));
    let (requests_door, doorway) = Door::new();
    let context = control::Context {
        reload: reload.clone(),
        health: health.clone(),
        store: door,
        pipeline: requests_door,
        about: Arc::new(about),
    };
    let ended = shutdown.clone();
    let owner = tokio::spawn(owner.run(requests, async move { ended.ended().await }));
    let mut answering = Vec::new();
    let ended = shutdown.clone();
    answering.push(tokio::spawn(control.serve(context, async move { ended.ended().await })));
    answering.push(tokio::spawn(Resources::begin(config, &store, &health, started_ms).watch()));
    if let Some(http) = http {
        tracing::info!(address = %http.address(), "metrics and health");
        let observed = Observed { health: health.clone(), metrics: recorder };
        let ended = shutdown.clone();
        answering.push(tokio::spawn(http.serve(observed, async move { ended.ended().await })));
    } else {
        // Without a listener, recorded histograms would grow until they are rendered.
        answering.push(tokio::spawn(metrics::keep_up(recorder)));
    }
    let surroundings = Surroundings { reload, first_load, current, sandbox, store, health };
    Ok((surroundings, doorway, Background { owner, answering }))
}

/// Opens the edges, lets events through until the source ends, and drains. Says how many events are missing in the recording, too.
async fn run_pipeline(
    config: &Config,
    around: &Surroundings,
    doorway: Doorway,
    shutdown: &Shutdown,
) -> anyhow::Result<(Tally, u64)> {
    let health = &around.health;
    // A pipe opens only when somebody reads it.
    let mut sink = tokio::select! {
        sink = AnySink::new(config, health.clone()) => sink?,
        () = shutdown.draining() => return Ok((Tally::default(), 0)),
    };
    let dead_letters = AnyDeadLetters::new(config, &config.data.join(DEAD_LETTERS_FILE), health.clone())?;
    let run = format!("{:x}-{:x}", clock::now_ms(), std::process::id());
    let source = Source::new(config, &run, health.clone())?;
    // Dead letters wait in the store for theirs.
    tokio::select! {
        checked = sink.check_route() => checked?,
        () = shutdown.draining() => return Ok((Tally::default(), 0)),
    }
    let settings = Settings {
        shards: shards_of(config),
        event_bytes_max: config.event.bytes_max,
        batch_max: config.event.batch_max,
        in_flight_max: config.event.in_flight_max,
        in_flight_bytes_max: config.event.in_flight_bytes_max,
        settles_after: Duration::from_millis(2 * heartbeat_ms(config)),
        environment: config.environment.as_str().into(),
        recheck_one_in: config.purity.recheck_one_in,
        breaker: config.breaker,
    };
    let rules = Rules {
        sandbox: Arc::clone(&around.sandbox),
        current: Arc::clone(&around.current),
        owner: around.reload.clone(),
    };
    let retention = Retention {
        seen_ms: config.store.deduplication_hours as Millis * HOUR_MS,
        journal_ms: config.store.journal_days as Millis * 24 * HOUR_MS,
        journal_bytes_max: config.store.journal_bytes_max,
        seen_rows_max: None,
    };
    let keeping = Keeping {
        store: Arc::clone(&around.store),
        clock: config.clock.source,
        run_on_ms: config.clock.run_on_minutes as Millis * 60_000,
        retention: if config.store_dir().is_some() { retention } else { retention.in_memory() },
        outbox_max: config.store.outbox_max,
        failures_bytes_max: config.store.failures_bytes_max,
        letters: LettersBound {
            letters_max: config.store.deadletters_max,
            bytes_max: config.store.deadletters_bytes_max,
        },
        missed_bytes_max: config.store.missed_bytes_max,
        suspects: Arc::new(open_suspects(config)?),
        health: health.clone(),
    };
    check_clock(config, &*around.store)?;
    let recording = Recording::begin(&config.record, health)?;
    let (entrance, mut pipeline) = Pipeline::start(settings, &rules, keeping, doorway, sink, dead_letters)?;
    let entrance = entrance.recorded_by(recording.as_ref().map(Recording::recorder));
    let until = shutdown.clone();
    let mut source = tokio::spawn(async move {
        // Deliveries that may not be decided are better left with the broker.
        tokio::select! {
            () = entrance.clock_is_believed() => {}
            () = until.draining() => {}
        }
        source.run(entrance, until).await
    });
    // The pipeline outlives the source; when it ends first, a part of it has died.
    let finished = tokio::select! {
        ended = &mut source => {
            ended_source(ended)?;
            anyhow::ensure!(!shutdown.has_ended(), NOT_DRAINED);
            tokio::select! {
                biased;
                finished = pipeline.finished() => finished,
                // The source has nothing outstanding, so what is left is on disk.
                why = nothing_goes_out(health, shutdown), if config.store_dir().is_some() => {
                    let (communications, letters) = (pipeline.in_outbox(), pipeline.waiting_letters());
                    tracing::warn!(communications, letters, why, "the engine ends; what the store holds goes out at the next start");
                    Ok(())
                }
            }
        }
        finished = pipeline.finished() => {
            // A source that fails lets go of the entrance first: what it has to say must not be lost to that race.
            if finished.is_ok() {
                ended_source((&mut source).await)?;
            }
            finished
        }
    };
    match finished {
        Ok(()) => {}
        // `hailer run … | head` is no failure: whoever reads has enough.
        Err(PipelineError::Sink(SinkError::Closed { place })) => {
            tracing::info!(place, "nobody reads the communications any more; what was not written is not acknowledged");
            // It lets go of the entrance, and then the shards end.
            source.abort();
        }
        Err(error) => return Err(error.into()),
    }
    let tally = pipeline.into_tally().await;
    // Everybody who hands events in is gone by now.
    let not_recorded = match recording {
        Some(recording) => {
            tokio::task::spawn_blocking(|| recording.end()).await.context("the recording was interrupted")?
        }
        None => 0,
    };
    Ok((tally, not_recorded))
}

/// A clock that is in doubt. An engine of a broker waits for an operator's word; a run over a file or standard input, for which nobody may be waiting, does not begin.
fn check_clock(config: &Config, store: &dyn Store) -> anyhow::Result<()> {
    let found = doubt_at_start(&*store.snapshot()?)?;
    let doubt = match config.clock.source {
        Clock::Wall => found,
        Clock::Events => {
            // The time never goes back, so every event would be decided in the future.
            if let Some(ahead) = found.filter(|doubt| doubt.contradiction == Contradiction::Behind) {
                tracing::warn!(
                    ahead_ms = ahead.apart_ms(),
                    "the time of the store is ahead of the machine's clock, as earlier events told it; events of the present are decided at that time: \
                     `hailer store clock --accept` sets it back"
                );
            }
            None
        }
    };
    clock::set_in_doubt(doubt.is_some());
    match doubt {
        Some(doubt) if !config.source.starts_with("amqp") => anyhow::bail!("{doubt}"),
        _ => Ok(()),
    }
}

/// Waits until a draining engine can't publish what it has: its time is up, or its sink has been unready for a while.
async fn nothing_goes_out(health: &Health, shutdown: &Shutdown) -> String {
    let stuck = async {
        shutdown.draining().await;
        let mut unready_since = None;
        loop {
            let problems = health.problems();
            let problem = SINK_ROOMS.iter().find_map(|room| problems.get(room));
            let since = *unready_since.get_or_insert_with(Instant::now);
            match problem {
                Some(why) if since.elapsed() >= STUCK_AFTER => return why.clone(),
                Some(_) => {}
                None => unready_since = None,
            }
            tokio::time::sleep(LOOKS_EVERY).await;
        }
    };
    tokio::select! {
        why = stuck => why,
        () = shutdown.ended() => "the time for draining is up".to_owned(),
    }
}

/// Waits until the engine should have ended. A store leaves it time to end its parts in order.
async fn ended_for_long(config: &Config, shutdown: &Shutdown) {
    shutdown.ended().await;
    if config.store_dir().is_some() {
        tokio::time::sleep(ENDS_WITHIN).await;
    }
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let Some(dir) = config.store_dir() else { return Ok(Arc::new(MemoryStore::new(&config.environment))) };
    let StoreConfig { create, cache_bytes, log_bytes, .. } = config.store;
    let opening = Opening { environment: &config.environment, create, cache_bytes, log_bytes };
    Ok(Arc::new(FileStore::open(&dir, opening)?))
}

fn open_suspects(config: &Config) -> anyhow::Result<Suspects> {
    let path = config.data.join(IN_FLIGHT_FILE);
    let opened = Suspects::open(&path, shards_of(config), config.event.batch_max);
    opened.with_context(|| format!("can't make {}, which says what is being decided", path.display()))
}

fn ended_source(ended: Result<Result<(), SourceError>, tokio::task::JoinError>) -> anyhow::Result<()> {
    Ok(ended.context("the source stopped unexpectedly")??)
}

/// A file or a stream of the process needs no session, so it counts as connected; a broker's sessions say themselves when they are.
fn show_connected(config: &Config) {
    let is_broker = |end: &str| end.starts_with("amqp");
    let connected = |end: &str| if is_broker(end) { 0.0 } else { 1.0 };
    ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(connected(&config.source));
    ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => "sink").set(connected(&config.sink));
    ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => "deadletters").set(connected(&config.source));
}

fn listen_of(config: &Config) -> &str {
    let is_service = config.source.starts_with("amqp");
    match config.http.listen.as_str() {
        "auto" if is_service => LISTEN_OF_A_SERVICE,
        "auto" => "",
        listen => listen,
    }
}

/// The interval of the source's broker; other sources deliver nothing twice.
fn heartbeat_ms(config: &Config) -> u64 {
    match config.source.parse() {
        Ok(Address::RabbitMq(broker)) => broker.heartbeat_ms(),
        _ => 0,
    }
}

fn shards_of(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if config.shards == 0 { cores() } else { config.shards }
}

/// The trigger stays with whoever listens for signals; this keeps it alive.
type Trigger = Arc<ShutdownTrigger>;
