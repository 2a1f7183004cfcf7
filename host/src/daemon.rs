//! Wires the components: one engine, from its start to its end.
//!
//! The order matters. The data directory is locked first, so that two engines never share it. The
//! rules are loaded before the source is opened. The sink is checked before the first event is
//! taken in. At the end the source stops before its deliveries are drained.

mod address_space;
mod checks;
mod measure;
mod resources;
mod signals;
mod stage;
mod summary;
mod topology;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use crate::address::{self, Address};
use crate::clock::{self, Millis};
use crate::config::{Config, DEAD_LETTERS_FILE, LISTEN_OF_A_SERVICE, StoreConfig};
use crate::control::{self, Control, EngineStatus, Http, Observed, StoreQueries};
use crate::engine::{RuleSet, Sandbox};
use crate::health::Health;
use crate::metrics;
use crate::pipeline::{
    Clock, Contradiction, IN_FLIGHT_FILE, LettersBound, Pipeline, PipelineError, PoisonGuard,
    Recorder, RequestReceiver, RequestSender, Retention, Rules, Settings, StoreSettings, Tally,
    doubt_at_start,
};
use crate::recording::Recording;
use crate::reload::{self, LoadReport, Owner, ReloadError, ReloadHandle};
use crate::shutdown::{Shutdown, ShutdownTrigger};
use crate::sinks::{AnyDeadLetterSink, AnySink, SinkError};
use crate::sources::{Source, SourceError};
use crate::store::{FileStore, MemoryStore, Opening, Store, StoreError};
pub use checks::{
    Finding, Level, check_address_space, check_broker, check_recording, check_rules, load_rules,
};
pub use measure::measure;
use resources::Resources;
pub use resources::check_disk;
use stage::EngineStage;
pub use stage::Loader;
pub use summary::Summary;
pub use topology::{OptionalObjects, TopologyReport, topology};

const HOUR_MS: Millis = 3_600_000;

/// The components that publish.
const SINK_ROOMS: [&str; 2] = ["sink", "deadletters"];
/// A draining engine does not wait for a sink that has been unready for this long.
const STUCK_AFTER: Duration = Duration::from_secs(2);
const POLL_EVERY: Duration = Duration::from_millis(250);
/// When the time for draining is up, the parts of an engine with a store may take this long to end.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

const REQUESTS_NOT_SAVED: &str = "the engine ended before a pause, resume or suspension was saved; \
    after the next start, `hailer campaigns` shows the state of each campaign";
const NOT_DRAINED: &str =
    "the engine ended before everything was drained; unacknowledged events will be delivered again";

/// Runs the engine until its source ends or it is stopped, and returns a summary.
///
/// # Errors
/// When it cannot start, or ends early.
pub fn run(config: Config) -> anyhow::Result<Summary> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the engine")?;
    let result = runtime.block_on(run_until_told(config));
    // A read of standard input cannot be interrupted; its thread ends with the process.
    runtime.shutdown_background();
    result
}

/// The child process in which a module is compiled: all of `hailer compile-module`.
#[must_use]
pub fn compile_child() -> u8 {
    reload::compile_child_main(|limits, compatibility, wasm| {
        Sandbox::precompile(limits, compatibility, wasm).map_err(|error| error.to_string())
    })
}

/// The parts that run beside the pipeline and end with it.
struct Services {
    reload: ReloadHandle,
    first_load: LoadReport,
    current: Arc<ArcSwap<RuleSet>>,
    sandbox: Arc<Sandbox>,
    store: Arc<dyn Store>,
    health: Health,
}

/// The tasks that end with the engine.
struct Background {
    /// The owner of the rules directory. Without it no campaign can be swapped.
    owner: JoinHandle<Result<(), ReloadError>>,
    /// The tasks that answer commands, and requests for metrics and health.
    answering: Vec<JoinHandle<()>>,
}

async fn run_until_told(config: Config) -> anyhow::Result<Summary> {
    let started_ms = clock::now_ms();
    let (trigger, shutdown) = Shutdown::new();
    // Signals are handled before the engine is visible: a signal to a ready engine must drain it.
    let trigger = signals::listen(trigger, Duration::from_millis(config.drain_ms))?;
    let (services, request_receiver, mut background) = tokio::select! {
        started = start_services(&config, started_ms, &shutdown) => started?,
        () = shutdown.ended() => anyhow::bail!(NOT_DRAINED),
    };
    let health = &services.health;

    let ran = tokio::select! {
        // Polled first, because its error explains more than the others when several end together.
        biased;
        ran = run_pipeline(&config, &services, request_receiver, &shutdown) => ran,
        ended = &mut background.owner => {
            ended.context("the owner of the rules directory stopped unexpectedly")??;
            anyhow::bail!(NOT_DRAINED)
        }
        () = must_end_now(&config, &shutdown) => anyhow::bail!(NOT_DRAINED),
    };
    // The owner may still be reading the directory. A suspension that is not saved would be lost.
    tokio::select! {
        biased;
        () = services.reload.orders_are_written() => {}
        _ = &mut background.owner => tracing::error!(REQUESTS_NOT_SAVED),
        () = shutdown.ended() => tracing::error!(REQUESTS_NOT_SAVED),
    }
    let (tally, not_recorded) = ran?;
    let problems = health.problems();
    let other_form =
        health.complaints().remove("source").filter(|_| !problems.contains_key("source"));
    drop(trigger);
    for task in background.answering {
        task.abort();
    }
    background.owner.abort();
    let elapsed_ms = clock::now_ms() - started_ms;
    Ok(Summary {
        tally,
        not_recorded,
        elapsed_ms,
        first_load: services.first_load,
        problems,
        other_form,
    })
}

/// Locks the data directory, loads the rules, and opens the socket and the HTTP port. Requests that
/// change kept data wait in a channel until there is a pipeline.
async fn start_services(
    config: &Config,
    started_ms: i64,
    shutdown: &Shutdown,
) -> anyhow::Result<(Services, RequestReceiver, Background)> {
    let health = Health::default();
    health.expect("source");
    let recorder = metrics::install().context("cannot start the metrics")?;
    metrics::create_series();
    show_connected(config);
    let control = Control::bind(&config.data)?;
    let http = Http::bind(listen_of(config)).await?;
    let store = open_store(config)?;
    let sandbox = Sandbox::new(config.limits.clone())?;
    let current = Arc::new(ArcSwap::from_pointee(RuleSet::empty()));
    let stage = EngineStage::open(config, Arc::clone(&sandbox), Arc::clone(&current))?;
    let (reload, requests) = ReloadHandle::new();
    let opening = (config.clone(), health.clone());
    // A store in memory does not outlive the engine.
    let lasting = config.store_dir().is_some().then(|| Arc::clone(&store));
    let opened =
        tokio::task::spawn_blocking(move || Owner::open(&opening.0, stage, opening.1, lasting));
    let (owner, first_load) =
        opened.await.context("the loading of the rules was interrupted")??;
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
    let store_queries = StoreQueries::new(
        &store,
        about.store.clone(),
        Arc::clone(&current),
        config.store.deferred_max as u64,
    );
    let (request_sender, request_receiver) = RequestSender::new();
    let context = control::Context {
        reload: reload.clone(),
        health: health.clone(),
        store: store_queries,
        pipeline: request_sender,
        about: Arc::new(about),
    };
    let ended = shutdown.clone();
    let owner = tokio::spawn(owner.run(requests, async move { ended.ended().await }));
    let mut answering = Vec::new();
    let ended = shutdown.clone();
    answering.push(tokio::spawn(control.serve(context, async move { ended.ended().await })));
    answering.push(tokio::spawn(Resources::begin(config, &store, &health, started_ms).watch()));
    if let Some(http) = http {
        tracing::info!(address = %http.address(), "metrics and health are served");
        let observed = Observed { health: health.clone(), metrics: recorder };
        let ended = shutdown.clone();
        answering.push(tokio::spawn(http.serve(observed, async move { ended.ended().await })));
    } else {
        // Without a listener, recorded histograms would grow without bound, because rendering sums
        // them up.
        answering.push(tokio::spawn(metrics::sum_up(recorder)));
    }
    let services = Services { reload, first_load, current, sandbox, store, health };
    Ok((services, request_receiver, Background { owner, answering }))
}

/// Opens sink and source, processes events until the source ends, and drains. Returns the totals,
/// and how many events are missing in the recording.
async fn run_pipeline(
    config: &Config,
    services: &Services,
    request_receiver: RequestReceiver,
    shutdown: &Shutdown,
) -> anyhow::Result<(Tally, u64)> {
    let health = &services.health;
    // Opening a pipe waits for its reader.
    let mut sink = tokio::select! {
        sink = AnySink::new(&config.sink, &config.rabbitmq, health.clone()) => sink?,
        () = shutdown.draining() => return Ok((Tally::default(), 0)),
    };
    let dead_letters = AnyDeadLetterSink::new(
        &config.source,
        &config.rabbitmq,
        &config.data.join(DEAD_LETTERS_FILE),
        health.clone(),
    )?;
    let run = format!("{:x}-{:x}", clock::now_ms(), std::process::id());
    let source = Source::new(
        &config.source,
        &config.rabbitmq,
        config.event.bytes_max,
        &run,
        health.clone(),
    )?;
    // The dead-letter queue is not checked here: dead letters wait in the store until it can be
    // reached.
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
        sandbox: Arc::clone(&services.sandbox),
        current: Arc::clone(&services.current),
        owner: Arc::new(services.reload.clone()),
    };
    let retention = Retention {
        dedup_ms: config.store.deduplication_hours as Millis * HOUR_MS,
        journal_ms: config.store.journal_days as Millis * 24 * HOUR_MS,
        journal_bytes_max: config.store.journal_bytes_max,
        dedup_entries_max: None,
    };
    let store_settings = StoreSettings {
        store: Arc::clone(&services.store),
        clock: config.clock.source,
        run_on_ms: config.clock.run_on_minutes as Millis * 60_000,
        retention: if config.store_dir().is_some() { retention } else { retention.in_memory() },
        outbox_max: config.store.outbox_max,
        deferred_max: config.store.deferred_max,
        failures_bytes_max: config.store.failures_bytes_max,
        letters: LettersBound {
            letters_max: config.store.deadletters_max,
            bytes_max: config.store.deadletters_bytes_max,
        },
        missed_bytes_max: config.store.missed_bytes_max,
        poison_guard: Arc::new(open_poison_guard(config)?),
        health: health.clone(),
    };
    check_clock(config, &*services.store)?;
    let recording = Recording::begin(&config.record, health)?;
    let (entrance, mut pipeline) =
        Pipeline::start(settings, &rules, store_settings, request_receiver, sink, dead_letters)?;
    let entrance = entrance.recorded_by(
        recording.as_ref().map(|recording| Arc::new(recording.recorder()) as Arc<dyn Recorder>),
    );
    let until = shutdown.clone();
    let mut source = tokio::spawn(async move {
        // While the clock is in doubt nothing is consumed, because deliveries that may not be
        // decided are safer with the broker.
        tokio::select! {
            () = entrance.clock_is_believed() => {}
            () = until.draining() => {}
        }
        source.run(entrance, until).await
    });
    // The pipeline normally ends after the source. If it ends first, a part of it has failed.
    let finished = tokio::select! {
        ended = &mut source => {
            ended_source(ended)?;
            anyhow::ensure!(!shutdown.has_ended(), NOT_DRAINED);
            tokio::select! {
                biased;
                finished = pipeline.finished() => finished,
                // The source has no unacknowledged event, so everything else is on disk.
                why = cannot_publish(health, shutdown), if config.store_dir().is_some() => {
                    let communications = pipeline.in_outbox();
                    let letters = pipeline.waiting_letters();
                    tracing::warn!(communications, letters, why, "the engine ends; the store \
                        keeps these communications and dead letters, and the next start publishes \
                        them");
                    Ok(())
                }
            }
        }
        finished = pipeline.finished() => {
            // A source that fails drops the entrance first, which ends the pipeline. Its own error
            // is read here so that it is not lost.
            if finished.is_ok() {
                ended_source((&mut source).await)?;
            }
            finished
        }
    };
    match finished {
        Ok(()) => {}
        // `hailer run … | head` is not a failure: the reader has ended.
        Err(PipelineError::Sink(SinkError::Closed { place })) => {
            tracing::info!(
                place,
                "the reader of the communications has ended; events whose communications were not \
                    written are not acknowledged"
            );
            // Aborting the source drops the entrance, which ends the shards.
            source.abort();
        }
        Err(error) => return Err(error.into()),
    }
    let tally = pipeline.into_tally().await;
    // Every task that hands events to the recording has ended.
    let not_recorded = match recording {
        Some(recording) => tokio::task::spawn_blocking(|| recording.end())
            .await
            .context("the recording was interrupted")?,
        None => 0,
    };
    Ok((tally, not_recorded))
}

/// Checks the clock at the start. If it is in doubt, an engine with a broker waits until an
/// operator accepts it. A run over a file or standard input does not begin, because an operator may
/// not be there.
fn check_clock(config: &Config, store: &dyn Store) -> anyhow::Result<()> {
    let found = doubt_at_start(&*store.snapshot()?)?;
    let doubt = match config.clock.source {
        Clock::Wall => found,
        Clock::Events => {
            // The engine's time never goes back, so every event would be decided at a future time.
            if let Some(ahead) = found.filter(|doubt| doubt.contradiction == Contradiction::Behind)
            {
                tracing::warn!(
                    ahead_ms = ahead.apart_ms(),
                    "the time in the store is ahead of the machine's clock, because earlier \
                        events set it; present events are decided at that time; `hailer store \
                        clock --accept` sets it back"
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

/// Waits until a draining engine cannot publish: its time is up, or its sink has been unready for
/// [`STUCK_AFTER`]. Returns the reason.
async fn cannot_publish(health: &Health, shutdown: &Shutdown) -> String {
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
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    tokio::select! {
        why = stuck => why,
        () = shutdown.ended() => "the time for draining is up".to_owned(),
    }
}

/// Waits until the engine must end now. With a store it has [`ENDS_WITHIN`] to end its parts in
/// order.
async fn must_end_now(config: &Config, shutdown: &Shutdown) {
    shutdown.ended().await;
    if config.store_dir().is_some() {
        tokio::time::sleep(ENDS_WITHIN).await;
    }
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let Some(dir) = config.store_dir() else {
        return Ok(Arc::new(MemoryStore::new(&config.environment)));
    };
    let StoreConfig { create, cache_bytes, log_bytes, .. } = config.store;
    let opening = Opening { environment: &config.environment, create, cache_bytes, log_bytes };
    Ok(Arc::new(FileStore::open(&dir, opening)?))
}

fn open_poison_guard(config: &Config) -> anyhow::Result<PoisonGuard> {
    let path = config.data.join(IN_FLIGHT_FILE);
    let opened = PoisonGuard::open(&path, shards_of(config), config.event.batch_max);
    opened.with_context(|| {
        format!("cannot create {}, the file of the poison-event guard", path.display())
    })
}

fn ended_source(
    ended: Result<Result<(), SourceError>, tokio::task::JoinError>,
) -> anyhow::Result<()> {
    Ok(ended.context("the source stopped unexpectedly")??)
}

/// Sets the metrics of connections. A file, standard input and standard output need no session and
/// count as connected; sessions of a broker set the metric themselves.
fn show_connected(config: &Config) {
    let is_broker = |end: &str| end.starts_with("amqp");
    let connected = |end: &str| if is_broker(end) { 0.0 } else { 1.0 };
    ::metrics::gauge!(metrics::SOURCE_CONNECTED).set(connected(&config.source));
    ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => "sink").set(connected(&config.sink));
    ::metrics::gauge!(metrics::SINK_CONNECTED, "room" => "deadletters")
        .set(connected(&config.source));
}

fn listen_of(config: &Config) -> &str {
    let is_service = config.source.starts_with("amqp");
    match config.http.listen.as_str() {
        "auto" if is_service => LISTEN_OF_A_SERVICE,
        "auto" => "",
        listen => listen,
    }
}

/// The heartbeat interval of the source's broker, in milliseconds; 0 for other sources, which
/// deliver nothing twice.
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

/// The shutdown trigger, shared with the task that listens for signals. Holding it keeps it alive.
type Trigger = Arc<ShutdownTrigger>;
