//! The commands, one file each. Data goes to standard output, messages for people go to standard
//! error. Exit codes are 0 done, 1 failed, 2 usage or configuration. `settings`, `output`,
//! `progress` and `logging` are shared by the commands.

mod logging;
mod origins;
mod output;
mod progress;
mod settings;

mod check;
mod config;
mod doctor;
mod run;

mod bench;
mod build;
mod costs;
mod dev;
mod function_names;
mod inspect;
mod module;
mod new;
mod params;
mod test;
mod toolchain;

mod campaigns;
mod engine;
mod pause;
mod policies;
mod record;
mod reload;
mod replay;
mod rollback;
mod trial;

mod consent;
mod customer;
mod dead_letters;
mod decisions;
mod deferred;
mod erase;
mod failures;
mod moment;
mod store;
mod store_access;
mod why;

mod compile_module;
mod completions;
mod event_reference;
mod events;
mod topology;

use clap::{Parser, Subcommand};

use settings::Global;

/// Exit code: the command did what it was asked to do.
const DONE: u8 = 0;
/// Exit code: the command failed.
const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is invalid.
const USAGE: u8 = 2;

/// The end of every command's long help.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage or configuration.";

/// Decide loyalty events with sandboxed WebAssembly rules, and send the communications
///
/// Hailer reads the events that Loymax sends for Smart Communications, from RabbitMQ or from a
/// file. It runs each event through rule modules and sends the communications that they ask for. A
/// rule is a small WebAssembly module. Copy one into the rules directory of a running engine, and
/// it decides the next event.
#[derive(Debug, Parser)]
#[command(
    name = "hailer",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = concat!(
        "A first rule:\n",
        "  hailer new my-rule                              write a rule crate with a test\n",
        "  hailer test my-rule                             run its scenarios on the real module\n",
        "  hailer build my-rule --out rules.d              build it into a module\n",
        "  hailer events --generate 100 > events.jsonl     generate events to try it on\n",
        "  hailer run --source file:events.jsonl           print what it would send\n\n",
        "Settings come from defaults, then hailer.toml, then HAILER_… variables, then flags; \
            `hailer config show` \
         prints each setting and its origin.\n\n",
        "Exit codes: 0 done, 1 failed, 2 usage or configuration.",
    )
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Config(config::ConfigCommand),
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Inspect(inspect::Inspect),
    Replay(replay::Replay),
    Params(params::Params),
    Bench(bench::Bench),
    Dev(dev::Dev),
    Campaigns(campaigns::Campaigns),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Reload(reload::Reload),
    Rollback(rollback::Rollback),
    Shadow(trial::Shadow),
    Promote(trial::Promote),
    Abort(trial::Abort),
    Policies(policies::Policies),
    Why(why::Why),
    Decisions(decisions::Decisions),
    Failures(failures::Failures),
    Deferred(deferred::Deferred),
    #[command(name = "dead-letters")]
    DeadLetters(dead_letters::DeadLetters),
    Consent(consent::Consent),
    Erase(erase::Erase),
    Store(store::StoreCommand),
    Events(events::Events),
    Record(record::Record),
    Topology(topology::Topology),
    Completions(completions::Completions),
    #[command(hide = true)]
    CompileModule(compile_module::CompileModule),
}

/// The command line is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

impl Cli {
    /// Runs the command and prints its error, if any, on standard error. Returns the exit code.
    #[must_use]
    pub fn run(self) -> u8 {
        match self.dispatch() {
            Ok(code) => code,
            // The reader of standard output has ended: `hailer events --generate 1000000 | head`.
            Err(error) if output::is_closed_pipe(&error) => DONE,
            Err(error) => {
                output::message(&format!("error: {error:#}"));
                code_of(&error)
            }
        }
    }

    fn dispatch(self) -> anyhow::Result<u8> {
        let global = &self.global;
        match self.command {
            Command::Run(command) => command.run(global),
            Command::Check(command) => command.run(global),
            Command::Doctor(command) => command.run(global),
            Command::Config(command) => command.run(global),
            Command::New(command) => command.run(global),
            Command::Build(command) => command.run(global),
            Command::Test(command) => command.run(global),
            Command::Inspect(command) => command.run(global),
            Command::Replay(command) => command.run(global),
            Command::Params(command) => command.run(global),
            Command::Bench(command) => command.run(global),
            Command::Dev(command) => command.run(global),
            Command::Campaigns(command) => command.run(global),
            Command::Pause(command) => command.run(global),
            Command::Resume(command) => command.run(global),
            Command::Reload(command) => command.run(global),
            Command::Rollback(command) => command.run(global),
            Command::Shadow(command) => command.run(global),
            Command::Promote(command) => command.run(global),
            Command::Abort(command) => command.run(global),
            Command::Policies(command) => command.run(global),
            Command::Why(command) => command.run(global),
            Command::Decisions(command) => command.run(global),
            Command::Failures(command) => command.run(global),
            Command::Deferred(command) => command.run(global),
            Command::DeadLetters(command) => command.run(global),
            Command::Consent(command) => command.run(global),
            Command::Erase(command) => command.run(global),
            Command::Store(command) => command.run(global),
            Command::Events(command) => command.run(global),
            Command::Record(command) => command.run(global),
            Command::Topology(command) => command.run(global),
            Command::Completions(command) => command.run(),
            Command::CompileModule(command) => Ok(command.run()),
        }
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    let configuration = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<crate::config::ConfigError>()
            || cause.is::<crate::failpoint::FailpointError>()
            || matches!(
                cause.downcast_ref(),
                Some(
                    crate::reload::ReloadError::Policies { .. }
                        | crate::reload::ReloadError::UnusablePolicies { .. }
                        | crate::reload::ReloadError::PoliciesFile { .. }
                        | crate::reload::ReloadError::UnreadablePolicies { .. }
                )
            )
            || matches!(cause.downcast_ref(), Some(crate::sources::SourceError::Configuration(_)))
            || matches!(cause.downcast_ref(), Some(crate::sinks::SinkError::Configuration(_)))
    });
    if configuration { USAGE } else { FAILED }
}

#[cfg(test)]
mod tests;
