//! `hailer failures list`.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::customer::IdKind;
use crate::cli::moment::zone;
use crate::cli::reading::{Place, place};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::engine::{one_line, shown};
use crate::store::Store;
use crate::story::{self, By, FailurePage, FailureQuery, FailureTold, Moment};

/// An error in a table, at most.
const ERROR_BYTES_MAX: usize = 100;

/// List what rules failed on, and what waits behind it
///
/// Customer after customer, and of each in the order in which it came. `waits` stands at what has not been tried: an earlier event of the customer
/// failed, or, if it stands at the head of its queue, its campaign did not run when its turn came. Asks the running engine, or reads the store of a stopped one.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures list --campaign welcome\n  hailer failures list --customer 8814 --all\n  \
     hailer failures list --json | jq -r '.[].failed.error' | sort | uniq -c\n\n{EXIT_CODES}",
))]
pub(super) struct List {
    /// Only those of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only those of this customer, by an id as the source writes it
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    customer: Option<String>,
    /// Which id that is [default: each is tried, customerId first]
    #[arg(long, requires = "customer")]
    by: Option<IdKind>,
    /// Also what has something in front of it
    #[arg(long, conflicts_with = "missed")]
    all: bool,
    /// What campaigns missed while they were paused or suspended, in place of failures
    #[arg(long)]
    missed: bool,
    /// The most that are listed
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
    /// Times in UTC [default: in the machine's zone]
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
            by: self.by.map(By::from),
            only_heads: !self.all,
            only_missed: self.missed,
            after: Vec::new(),
        };
        let (failures, is_cut) = match place(global, &self.store)? {
            Place::Engine(client) => read(query, self.limit, |query| Ok(engine::wait(client.failures(query))??))?,
            Place::Stopped(stopped) => {
                let store = stopped.open()?;
                read(query, self.limit, |query| Ok(story::failures(&*store.snapshot()?, query)?))?
            }
        };
        if global.json {
            output::json(&failures)?;
        } else if failures.is_empty() {
            output::say(if self.missed { "nothing missed is kept" } else { "no failures" });
        } else {
            output::data(&table(&failures, &zone(self.utc)))?;
            output::say("`hailer failures show NUMBER` shows one; `retry` and `drop` take numbers, a campaign, or all");
        }
        if is_cut {
            output::say(&format!("there are more than {}; --limit lists more", self.limit));
        }
        Ok(DONE)
    }
}

/// Reads page after page, up to so many; says whether there are more.
fn read(
    mut query: FailureQuery,
    limit: usize,
    mut page: impl FnMut(&FailureQuery) -> anyhow::Result<FailurePage>,
) -> anyhow::Result<(Vec<FailureTold>, bool)> {
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

fn table(failures: &[FailureTold], zone: &TimeZone) -> String {
    let row = |failure: &FailureTold| {
        let what = match (&failure.event_code, &failure.timer) {
            (Some(code), _) => shown(code),
            (None, Some(timer)) => format!("timer {}", shown(timer)),
            (None, None) => String::new(),
        };
        let (tries, error) = match &failure.failed {
            Some(failed) => (failed.tries.to_string(), one_line(&failed.error, ERROR_BYTES_MAX).to_string()),
            None => ("-".to_owned(), failure.missed.as_ref().map_or("waits".into(), |why| format!("missed: {why}"))),
        };
        let customer = failure.customer.as_deref().and_then(|key| key.get(..12)).unwrap_or("-");
        let (number, at) = (failure.number.to_string(), Moment(failure.at, zone).to_string());
        [number, shown(&failure.campaign), customer.to_owned(), what, at, tries, error]
    };
    output::table(["number", "campaign", "customer", "event", "came", "tries", "error"], failures.iter().map(row))
}
