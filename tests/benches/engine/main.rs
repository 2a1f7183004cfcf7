//! Benchmarks of the whole engine: the real binary with a real broker. They are one program,
//! because each alone would be linked with the engine's library for a few names. The arguments name
//! the measurements to make; without arguments it makes all.

#![allow(clippy::print_stdout, reason = "what a benchmark has to say")]

mod measure;

mod throughput;

mod latency;

mod million;

mod backlog;
mod swap;

mod beside;
mod many;
mod policies;
mod soak;

use measure::Outcome;

const ALL: [&str; 9] =
    ["throughput", "latency", "backlog", "swap", "million", "many", "policies", "soak", "beside"];

fn main() -> Outcome<()> {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` runs every benchmark in a short form; these have none.
    if wanted.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|argument| !ALL.contains(&argument.as_str())) {
        return Err(format!("`{unknown}` is no measurement: {}", ALL.join(", ")).into());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in ALL
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.iter().any(|argument| argument == name))
    {
        println!("\n== {name}");
        runtime.block_on(async {
            match name {
                "throughput" => throughput::run().await,
                "latency" => latency::run().await,
                "backlog" => backlog::run().await,
                "swap" => swap::run().await,
                "million" => million::run().await,
                "many" => many::run().await,
                "policies" => policies::run().await,
                "beside" => beside::run().await,
                _ => soak::run().await,
            }
        })?;
    }
    Ok(())
}
