//! The engine as a whole, the real binary beside a real broker. One program, as each would be linked with the engine's library for the few
//! names that it takes of it; its arguments say which measurements to make, and without any it makes all.

#![allow(clippy::print_stdout, reason = "what a benchmark has to say")]

mod measure;

mod throughput;

mod latency;

mod million;

mod backlog;
mod swap;

mod beside;
mod many;
mod soak;

use measure::Outcome;

const ALL: [&str; 8] = ["throughput", "latency", "backlog", "swap", "million", "many", "soak", "beside"];

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` asks every benchmark for a short run; these have none.
    if wanted.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|argument| !ALL.contains(&argument.as_str())) {
        return Err(format!("`{unknown}` is no measurement: {}", ALL.join(", ")).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in ALL.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|argument| argument == name)) {
        println!("\n== {name}");
        runtime.block_on(async {
            match name {
                "throughput" => throughput::run().await,
                "latency" => latency::run().await,
                "backlog" => backlog::run().await,
                "swap" => swap::run().await,
                "million" => million::run().await,
                "many" => many::run().await,
                "beside" => beside::run().await,
                _ => soak::run().await,
            }
        })?;
    }
    Ok(())
}
