//! The program: parses the command line, runs the command, and exits. Everything else is in the
//! library.

use std::process::ExitCode;

use clap::Parser;
use hailer::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().run())
}
