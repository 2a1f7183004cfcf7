//! `hailer failures list`: lists the failures that are kept.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::customer::IdKind;
use crate::cli::moment::zone;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::engine::{one_line, shown};
use crate::explain::{self, CustomerIdKind, FailurePage, FailureQuery, FailureSummary, ZonedTime};
use crate::store::Store;

/// The maximum length of an error in the table, in bytes.
const ERROR_BYTES_MAX: usize = 100;

/// List failures, and the held events behind them
///
/// Failures are listed customer by customer, and for each customer in the order in which they came.
/// `waits` marks an event that has not been tried: an earlier event of the customer failed, or (at
/// the head of its queue) the campaign did not run when its turn came. Asks the running engine, or
/// reads the store of a stopped one.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures list --campaign welcome\n  hailer failures list --customer 8814 \
        --all\n  \
     hailer failures list --json | jq -r '.[].failed.error' | sort | uniq -c\n\n{EXIT_CODES}",
))]
pub(super) struct List {
    /// Only failures of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only failures of this customer, given by an id as the source writes it
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    customer: Option<String>,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long, requires = "customer")]
    by: Option<IdKind>,
    /// Also list the events that are held behind a failure
    #[arg(long, conflicts_with = "missed")]
    all: bool,
    /// List the events that campaigns missed while they were paused or suspended, instead of
    /// failures
    #[arg(long)]
    missed: bool,
    /// The maximum number of failures to list
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl List {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let query = FailureQuery {
            campaign: self.campaign,
            customer: self.customer,
            by: self.by.map(CustomerIdKind::from),
            only_heads: !self.all,
            only_missed: self.missed,
            after: Vec::new(),
        };
        let (failures, is_cut) = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => {
                read(query, self.limit, |query| Ok(engine::wait(client.failures(query))??))?
            }
            StoreAccess::Stopped(stopped) => {
                let store = stopped.open()?;
                read(query, self.limit, |query| Ok(explain::failures(&*store.snapshot()?, query)?))?
            }
        };
        if global.json {
            output::json(&failures)?;
        } else if failures.is_empty() {
            output::message(if self.missed { "no missed events are kept" } else { "no failures" });
        } else {
            output::data(&table(&failures, &zone(self.utc)))?;
            output::message(
                "`hailer failures show NUMBER` shows one; `retry` and `drop` take numbers, a \
                 campaign, or all",
            );
        }
        if is_cut {
            output::message(&format!(
                "there are more than {}; use a larger --limit to list them",
                self.limit
            ));
        }
        Ok(DONE)
    }
}

/// Reads page after page until `limit` is reached. The boolean says whether there are more.
fn read(
    mut query: FailureQuery,
    limit: usize,
    mut page: impl FnMut(&FailureQuery) -> anyhow::Result<FailurePage>,
) -> anyhow::Result<(Vec<FailureSummary>, bool)> {
    let mut all = Vec::new();
    loop {
        let FailurePage { failures, next } = page(&query)?;
        all.extend(failures);
        if all.len() > limit {
            all.truncate(limit);
            return Ok((all, true));
        }
        match next {
            Some(next) => query.after = next,
            None => return Ok((all, false)),
        }
    }
}

fn table(failures: &[FailureSummary], zone: &TimeZone) -> String {
    let row = |failure: &FailureSummary| {
        let what = match (&failure.event_code, &failure.timer) {
            (Some(code), _) => shown(code),
            (None, Some(timer)) => format!("timer {}", shown(timer)),
            (None, None) => String::new(),
        };
        let (tries, error) = match &failure.failed {
            Some(failed) => {
                (failed.tries.to_string(), one_line(&failed.error, ERROR_BYTES_MAX).to_string())
            }
            None => (
                "-".to_owned(),
                failure.missed.as_ref().map_or("waits".into(), |why| format!("missed: {why}")),
            ),
        };
        let customer = failure.customer.as_deref().and_then(|key| key.get(..12)).unwrap_or("-");
        let (number, at) = (failure.number.to_string(), ZonedTime(failure.at, zone).to_string());
        [number, shown(&failure.campaign), customer.to_owned(), what, at, tries, error]
    };
    output::table(
        ["number", "campaign", "customer", "event", "came", "tries", "error"],
        failures.iter().map(row),
    )
}
