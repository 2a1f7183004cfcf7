//! `hailer erase`: everything that is kept about a customer goes.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Args;

use super::customer::IdKind;
use super::reading::{Place, place};
use super::settings::{Global, StoreFlags};
use super::{DONE, EXIT_CODES, FAILED, engine, logging, output};
use crate::engine::shown;
use crate::erasure::{self, Erased, OUT_OF_REACH, Whose};
use crate::story::{By, NO_EVENT_SEEN};

/// Erase everything that is kept about a customer, and say what can't be reached
///
/// Takes away the states, timers, failures and decisions of the customer and of everybody who has been merged into them, and the merges
/// themselves. There is no way back. A running engine does it between two events; the store of a stopped one is opened for it. Events
/// of the customer that come later are those of somebody new.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Not erased, as it is\n{OUT_OF_REACH}.\n\nExamples:\n  hailer erase 8814\n  hailer erase 6f1c0a52-… --by uid --yes --json\n\n{EXIT_CODES}",
))]
pub(super) struct Erase {
    /// The customer's id, as the source writes it
    #[arg(allow_negative_numbers = true)]
    customer: String,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long)]
    by: Option<IdKind>,
    /// Don't ask whether that is meant
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Erase {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let whose = Whose { customer: self.customer, by: self.by.map(By::from) };
        let place = place(global, &self.store)?;
        if !self.yes {
            confirm(&whose.customer)?;
        }
        let erased = match place {
            Place::Engine(client) => page_by_page(|| Ok(engine::wait(client.erase(&whose))??))?,
            Place::Stopped(stopped) => erasure::erase(&stopped.open()?, &whose)?,
        };
        let Some(erased) = erased else {
            output::say(&format!("{NO_EVENT_SEEN}: nothing is kept about a customer `{}`", shown(&whose.customer)));
            return Ok(FAILED);
        };
        if global.json {
            output::json(&erased)?;
        } else {
            output::data(&text(&whose, &erased))?;
            output::say(OUT_OF_REACH);
        }
        Ok(DONE)
    }
}

/// A running engine erases a part of a long history at a time, between events.
fn page_by_page(mut page: impl FnMut() -> anyhow::Result<Option<Erased>>) -> anyhow::Result<Option<Erased>> {
    let mut progress = output::Progress::new();
    let mut erased: Option<Erased> = None;
    loop {
        let Some(next) = page()? else { return Ok(erased) };
        let so_far = next.after(erased);
        if so_far.is_whole {
            return Ok(Some(so_far));
        }
        progress.show(|| format!("erased {} events and timers of the journal", so_far.decisions));
        erased = Some(so_far);
    }
}

fn text(whose: &Whose, erased: &Erased) -> String {
    let Erased { found_by, customers, states, timers, failures, decisions, waiting, is_whole: _ } = erased;
    let by = found_by.map_or("", By::name);
    let merged =
        if *customers > 1 { format!(" and {} who are one with them by merges", customers - 1) } else { String::new() };
    let mut text = format!(
        "erased customer {}, known by {by}{merged}: states {states}, timers {timers}, failures {failures}, events and timers in the journal {decisions}\n",
        shown(&whose.customer)
    );
    if *waiting > 0 {
        text += &format!("communications that were in the outbox and still go out: {waiting}\n");
    }
    text
}

/// There is no way back, so somebody has to mean it.
fn confirm(customer: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("erasing can't be undone: say that it is meant with --yes");
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "erase everything that is kept about customer {}? It can't be undone [y/N] ", shown(customer))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was erased"),
    }
}
