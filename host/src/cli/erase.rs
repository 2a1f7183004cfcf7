//! `hailer erase`: erases everything that is kept about a customer.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Args;

use super::customer::IdKind;
use super::progress::{Progress, Total};
use super::settings::{Global, StoreFlags};
use super::store_access::{StoreAccess, store_access};
use super::{DONE, EXIT_CODES, FAILED, engine, logging, output};
use crate::engine::shown;
use crate::erasure::{self, EraseRequest, Erased, OUT_OF_REACH};
use crate::explain::{CustomerIdKind, NO_EVENT_SEEN};

/// Erase everything that is kept about a customer, and print what cannot be erased
///
/// Removes the states, timers, deferred messages, failures and decisions of the customer and of all
/// customers who were merged into them, and the merges themselves. This cannot be undone. A running
/// engine erases between two events. If no engine runs, the command opens the store itself. Later
/// events with this customer's id are those of a new customer.
///
/// A refusal of consent is kept under a hash of the customer's id, so that the new customer has
/// refused, too. --forget-refusals erases it as well.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Not erased, because it is\n{OUT_OF_REACH}.\n\nExamples:\n  hailer erase 8814\n  hailer erase \
        6f1c0a52-… --by uid --yes --json\n\n{EXIT_CODES}",
))]
pub(super) struct Erase {
    /// The customer's id, as the source writes it
    #[arg(allow_negative_numbers = true)]
    customer: String,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long)]
    by: Option<IdKind>,
    /// Erase refusals of consent, too. Where the policies allow a channel while the consent is
    /// unknown, forgetting a refusal is consenting
    #[arg(long)]
    forget_refusals: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Erase {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let by = self.by.map(CustomerIdKind::from);
        let request =
            EraseRequest { customer: self.customer, by, forget_refusals: self.forget_refusals };
        let access = store_access(global, &self.store)?;
        if !self.yes {
            confirm(&request.customer)?;
        }
        let erased = match access {
            StoreAccess::Engine(client) => {
                page_by_page(|| Ok(engine::wait(client.erase(&request))??))?
            }
            StoreAccess::Stopped(stopped) => erasure::erase(&stopped.open()?, &request)?,
        };
        let Some(erased) = erased else {
            output::message(&format!(
                "{NO_EVENT_SEEN}: nothing is kept about customer `{}`",
                shown(&request.customer)
            ));
            return Ok(FAILED);
        };
        if global.json {
            output::json(&erased)?;
        } else {
            output::data(&text(&request, &erased))?;
            output::message(OUT_OF_REACH);
        }
        Ok(DONE)
    }
}

/// Erases page by page. A running engine erases a part of a long history at a time, between events.
fn page_by_page(
    mut page: impl FnMut() -> anyhow::Result<Option<Erased>>,
) -> anyhow::Result<Option<Erased>> {
    let mut progress = Progress::new(Total::Unknown);
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

fn text(request: &EraseRequest, erased: &Erased) -> String {
    let Erased {
        found_by,
        customers,
        states,
        timers,
        deferred,
        failures,
        decisions,
        refusals_kept,
        waiting,
        is_whole: _,
    } = erased;
    let by = found_by.map_or("", CustomerIdKind::name);
    let merged = if *customers > 1 {
        format!(" and {} merged customers", customers - 1)
    } else {
        String::new()
    };
    let mut text = format!(
        "erased customer {}, known by {by}{merged}: states {states}, timers {timers}, failures \
         {failures}, events and timers in the journal {decisions}, deferred messages {deferred}\n",
        shown(&request.customer)
    );
    if *refusals_kept > 0 {
        text += &format!(
            "refusals of consent that are kept: {refusals_kept}; --forget-refusals erases them\n"
        );
    }
    if *waiting > 0 {
        text += &format!(
            "communications that are in the outbox and will still be published: {waiting}\n"
        );
    }
    text
}

/// Asks the operator for confirmation, because erasing cannot be undone.
fn confirm(customer: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("erasing cannot be undone: confirm it with --yes");
    }
    let mut stderr = io::stderr().lock();
    write!(
        stderr,
        "erase everything that is kept about customer {}? This cannot be undone [y/N] ",
        shown(customer)
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was erased"),
    }
}
