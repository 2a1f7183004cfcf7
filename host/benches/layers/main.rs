//! The cost of each layer of the event path. All measurements are one program, because linking each
//! one with the engine's library would take minutes. The arguments name the measurements to make.
//! Without arguments it makes all.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops if its setup fails")]

mod call;
mod campaigns;
mod event;
mod marks;
mod replay;
mod scale;
mod store;
mod timing;

use std::error::Error;

const ALL: [&str; 5] = ["event", "call", "scale", "store", "replay"];

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` requests a short run of every benchmark. These have none.
    if wanted.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|argument| !ALL.contains(&argument.as_str())) {
        return Err(format!("unknown measurement `{unknown}`; use {}", ALL.join(", ")).into());
    }
    for name in ALL
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.iter().any(|argument| argument == name))
    {
        println!("\n== {name}");
        match name {
            "event" => event::run(),
            "call" => call::run(),
            "scale" => scale::run(),
            "store" => store::run()?,
            _ => replay::run(),
        }
    }
    Ok(())
}
