//! Damages the files of each store that Hailer could use, and checks how the store reacts:
//! `make store-damage`.
//!
//! A writer commits rows like Hailer's and prints the number of each acknowledged commit. Then its
//! files are damaged, or it is killed, or its power is cut, or its disk is full. A reader opens the
//! store, reads everything and compares it with the acknowledged commits. A store may have all of
//! them, or refuse to open or to read. **It may never read less without an error.**

mod children;
mod contenders;
mod damage;
mod disk;
mod end_file;
mod files;
mod full;
mod kill;
mod plan;
mod power;
mod reader;
mod report;
mod rows;
mod run;
mod writer;

use std::path::Path;
use std::process::ExitCode;

use rows::Workload;
use run::Settings;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        arguments.get(at).and_then(|argument| argument.parse::<u64>().ok()).unwrap_or(0)
    };
    let workload = Workload { seed: number(3), filler_bytes: number(4) as usize };
    match arguments.first().map(String::as_str) {
        Some("write") if arguments.len() == 9 => {
            let directory = Path::new(&arguments[2]);
            writer::run(
                &arguments[1],
                directory,
                workload,
                number(5),
                number(6),
                number(7),
                number(8) == 1,
            );
        }
        Some("read") if arguments.len() == 7 => {
            reader::run(&arguments[1], Path::new(&arguments[2]), workload, number(5), number(6));
        }
        Some("run") => match Settings::of(&arguments[1..]).map(|settings| run::run(&settings)) {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return ExitCode::FAILURE,
            Ok(Err(error)) => {
                eprintln!("the run failed: {error}");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("this is started by scripts/store-damage.sh");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
