//! RabbitMQ to RabbitMQ: the engine with ten rules beside a bare client program that does nothing but move messages, in
//! one run, on one broker, with the same messages. And the memory that 100 rules take.
//!
//! The bare program consumes with the same prefetch, acknowledges every 100 with `multiple`, and publishes one persistent message of 400 bytes for each event,
//! confirmed, 500 outstanding at most. The engine's ten campaigns all take every event; one of them sends a communication for it. Both are timed
//! by the output queue alone: from its 2000th message to its last.
//!
//! `HAILER` names the engine's binary and `MODULE` a build of big-basket: `make bench` sets both.

#![allow(clippy::print_stdout, reason = "what a benchmark has to say")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hailer::config::RabbitMqConfig;
use hailer::generate::{Generator, Options};
use hailer::topology::Topology;
use hailer_tests::broker::{Broker, Client};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};

const EVENTS: usize = 30_000;
/// Messages before the clock starts: connections, first calls and caches are warm then.
const WARM: u32 = 2000;
const ROUNDS: usize = 5;
const RULES: usize = 10;
/// What the bare program publishes ahead of its confirms: less than the prefetch, or it would wait for itself.
const OUTSTANDING_MAX: usize = 500;
const OUT: &str = "out";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    // `cargo test --benches` asks every bench for a short run; this one has none.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(bench())
}

async fn bench() -> Outcome<()> {
    let hailer = PathBuf::from(std::env::var("HAILER").map_err(|_| "HAILER must name the engine's binary")?);
    let module = PathBuf::from(std::env::var("MODULE").map_err(|_| "MODULE must name a build of big-basket")?);
    let broker = Broker::start();
    let client = Client::connect(&broker).await;
    let names = RabbitMqConfig::default();
    let address = hailer::address::Address::new(&broker.address(), &names)?;
    let hailer::address::Address::RabbitMq(address) = address else { return Err("no broker's address".into()) };
    Topology::new(&names, None).apply(&address).await?;
    client.queue(&names.queue).await;
    client.queue(OUT).await;
    client.bind(OUT, &names.exchange, "#").await;
    let events = purchases();

    let mut ratios = Vec::new();
    println!("{EVENTS} events a round, {RULES} rules, {} bytes an event on average", mean_bytes(&events));
    for round in 1..=ROUNDS {
        let bare = round_of(&broker, &client, &names, &events, Program::Bare).await?;
        let engine = round_of(&broker, &client, &names, &events, Program::Engine(&hailer, &module)).await?;
        println!("round {round}: bare {bare:.0}/s, engine {engine:.0}/s, ratio {:.2}", engine / bare);
        ratios.push(engine / bare);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("throughput against the bare program: median {median:.2}, {least:.2} to {most:.2} (mark: 0.70 or more)");

    for rules in [0, 100] {
        let bytes = resident_bytes(&hailer, &module, rules, &events)?;
        println!(
            "resident memory with {rules} rules: {:.1} MB{}",
            bytes as f64 / 1e6,
            if rules == 100 { " (mark: under 100 MB)" } else { "" }
        );
    }
    Ok(())
}

enum Program<'a> {
    Bare,
    Engine(&'a Path, &'a Path),
}

/// Messages a second, from the output queue's 2000th message to its last.
async fn round_of(
    broker: &Broker,
    client: &Client,
    names: &RabbitMqConfig,
    events: &[Vec<u8>],
    program: Program<'_>,
) -> Outcome<f64> {
    client.purge(OUT).await;
    client.purge(&names.queue).await;
    client.publish("", &names.queue, events).await;
    let work = tempfile::tempdir()?;
    let mut running = match program {
        Program::Bare => Running::Task(tokio::spawn(move_messages(broker.address(), names.clone()))),
        Program::Engine(hailer, module) => {
            rules_into(&work.path().join("rules.d"), module, RULES)?;
            let mut command = engine(hailer, work.path());
            command.args(["--source", &broker.address(), "--sink", &broker.address()]);
            Running::Process(command.spawn()?)
        }
    };
    let mut started = None;
    let rate = loop {
        let (messages, _) = client.counts(OUT).await;
        match started {
            None if messages >= WARM => started = Some((Instant::now(), messages)),
            Some((since, first)) if messages as usize >= EVENTS => {
                break f64::from(messages - first) / Instant::elapsed(&since).as_secs_f64();
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    running.stop();
    Ok(rate)
}

enum Running {
    Task(tokio::task::JoinHandle<()>),
    Process(Child),
}

impl Running {
    fn stop(&mut self) {
        match self {
            Running::Task(task) => task.abort(),
            Running::Process(child) => {
                let pid = rustix::process::Pid::from_child(child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the engine is told to stop");
                assert!(child.wait().expect("the engine ends").success());
            }
        }
    }
}

/// The bare program.
async fn move_messages(address: String, names: RabbitMqConfig) {
    let connect = || Connection::connect(&address, ConnectionProperties::default());
    let (consuming, publishing) = (connect().await.expect("a connection"), connect().await.expect("a connection"));
    let source = consuming.create_channel().await.expect("a channel");
    let sink = publishing.create_channel().await.expect("a channel");
    sink.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    source.basic_qos(names.prefetch, BasicQosOptions::default()).await.expect("a prefetch");
    let queue = names.queue.as_str().into();
    let consumed = source.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = consumed.await.expect("a consumer");
    let body = vec![b'x'; 400];
    let mut confirms = std::collections::VecDeque::new();
    let mut count = 0_u64;
    while let Some(Ok(delivery)) = deliveries.next().await {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let key = "communication.push.bare".into();
        let sent = sink.basic_publish(names.exchange.as_str().into(), key, options, &body, properties).await;
        confirms.push_back((sent.expect("a publication"), delivery.delivery_tag));
        let is_idle = count as usize + 1 >= EVENTS;
        count += 1;
        while confirms.len() >= OUTSTANDING_MAX || (is_idle && !confirms.is_empty()) {
            let Some((confirm, tag)) = confirms.pop_front() else { break };
            confirm.await.expect("a confirm");
            if tag % 100 == 0 || tag as usize == EVENTS {
                source.basic_ack(tag, BasicAckOptions { multiple: true }).await.expect("an acknowledgement");
            }
        }
    }
}

fn engine(hailer: &Path, work: &Path) -> Command {
    let mut command = Command::new(hailer);
    command.arg("run").arg("--rules").arg(work.join("rules.d")).arg("--data").arg(work.join("data"));
    command.args(["--listen", "", "--log-level", "warn"]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Campaigns over one module: the first fires for every purchase, the others for none.
fn rules_into(directory: &Path, module: &Path, count: usize) -> Outcome<()> {
    std::fs::create_dir_all(directory.join("modules"))?;
    std::fs::copy(module, directory.join("modules/big-basket.wasm"))?;
    for rule in 0..count {
        let threshold = if rule == 0 { "0.00" } else { "1000000.00" };
        let text =
            format!("module = \"modules/big-basket.wasm\"\nmode = \"live\"\n[params]\nthreshold = \"{threshold}\"\n");
        std::fs::write(directory.join(format!("rule-{rule}.toml")), text)?;
    }
    Ok(())
}

/// What the engine has resident after it has run all events through `rules` rules.
fn resident_bytes(hailer: &Path, module: &Path, rules: usize, events: &[Vec<u8>]) -> Outcome<u64> {
    use std::io::Write;
    let work = tempfile::tempdir()?;
    rules_into(&work.path().join("rules.d"), module, rules)?;
    let mut command = engine(hailer, work.path());
    command.args(["--source", "-", "--sink", &format!("file:{}", work.path().join("out").display())]);
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("no pipe")?;
    for event in events {
        input.write_all(event)?;
        input.write_all(b"\n")?;
    }
    input.flush()?;
    // The pipe is empty but for its last 64 kB: all guests are at work.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse()?;
    drop(input);
    assert!(child.wait()?.success());
    Ok(kilobytes * 1024)
}

fn purchases() -> Vec<Vec<u8>> {
    let mut generator = Generator::new(1, &Options::default());
    let mut events = Vec::with_capacity(EVENTS);
    while events.len() < EVENTS {
        let mut event = Vec::new();
        generator.append_next(&mut event);
        let text = String::from_utf8_lossy(&event);
        if text.contains("OnPurchaseConfirm") {
            events.push(event);
        }
    }
    events
}

fn mean_bytes(events: &[Vec<u8>]) -> usize {
    events.iter().map(Vec::len).sum::<usize>() / events.len()
}
