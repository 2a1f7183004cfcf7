//! What each layer of the event path costs, by itself. One program, as each would be linked with the whole of the engine's library, which takes minutes;
//! its arguments say which measurements to make, and without any it makes all.

#![expect(clippy::print_stdout, reason = "a benchmark's output is for whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up has nothing to say")]

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
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` asks every benchmark for a short run; these have none.
    if wanted.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|argument| !ALL.contains(&argument.as_str())) {
        return Err(format!("`{unknown}` is no measurement: {}", ALL.join(", ")).into());
    }
    for name in ALL.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|argument| argument == name)) {
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
