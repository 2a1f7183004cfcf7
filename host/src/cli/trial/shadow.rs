//! `hailer shadow`: how a new version compares with the campaign that it may become.

use std::fmt::Write;

use clap::Args;

use super::super::moment::{moment, zone};
use super::super::reading::{Place, place};
use super::super::settings::{Global, StoreFlags};
use super::super::{DONE, EXIT_CODES, engine, logging, output};
use super::files::{Trial, site};
use crate::store::Store;
use crate::story::{self, Comparison, Decision, DecisionPage, DecisionQuery, Difference, How, Moment, Side};

/// Compare a campaign with the version of it that is on trial
///
/// A shadow (`mode = "shadow"`, `shadow_of = "welcome"`) is asked about every event beside its campaign, and nothing of it goes out. This shows
/// on how many events and timers the two agree, and on which they differ, each with what it would send and its note. The first time that a shadow meets
/// a customer it takes over what the campaign keeps about them, state and timers; from then on it goes its own way, as it would have live.
///
/// A canary (`mode = "live"`, `shadow_of = "welcome"`, `rollout_percent = 10`) decides in its campaign's place for its customers, so that there are no two
/// decisions to compare: shown is how often each of the two sends, and fails.
///
/// What is compared is in the journal, for as long as it is kept. It holds no data of communications, but a hash of it: that data differs is seen, how is not;
/// `hailer replay --diff` shows that on recorded events.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer shadow welcome\n  hailer shadow welcome --since 2h --limit 100\n  \
     hailer shadow welcome --json | jq '.differences[] | select(.how == \"only-shadow-sends\") | .shadow.customer'\n\n{EXIT_CODES}",
))]
pub(in super::super) struct Shadow {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// Nothing before: a span back from now such as 2h, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The most differences that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    /// The rules' directory [default: that of the running engine]
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    #[command(flatten)]
    store: StoreFlags,
}

impl Shadow {
    pub(in super::super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let zone = zone(self.utc);
        let since = self.since.as_deref().map(|text| moment("--since", text, &zone)).transpose()?;
        let trial = Trial::find(&site(global, self.rules)?.rules, &self.campaign)?;
        let campaigns = vec![trial.campaign.clone(), trial.candidate.clone()];
        let query = DecisionQuery { since, campaigns, ..DecisionQuery::default() };
        let comparison = Comparison::new(&trial.campaign, &trial.candidate, self.limit);
        let comparison = match place(global, &self.store)? {
            Place::Engine(client) => compare(comparison, query, |query| Ok(engine::wait(client.decisions(query))??))?,
            Place::Stopped(stopped) => {
                let store = stopped.open()?;
                compare(comparison, query, |query| Ok(story::decisions(&*store.snapshot()?, query)?))?
            }
        };
        if global.json {
            output::json(&comparison)?;
        } else {
            output::data(&text(&comparison, trial.rollout_percent(), &zone))?;
        }
        Ok(DONE)
    }
}

fn compare(
    mut comparison: Comparison,
    mut query: DecisionQuery,
    mut page: impl FnMut(&DecisionQuery) -> anyhow::Result<DecisionPage>,
) -> anyhow::Result<Comparison> {
    let mut progress = output::Progress::new();
    let mut read = 0;
    loop {
        let DecisionPage { decisions, next } = page(&query)?;
        read += decisions.len();
        decisions.into_iter().for_each(|decision| comparison.add(decision));
        progress.show(|| format!("{read} decisions"));
        match next {
            Some(next) => query.from = next,
            None => return Ok(comparison.finish()),
        }
    }
}

fn text(comparison: &Comparison, rollout_percent: Option<i64>, zone: &jiff::tz::TimeZone) -> String {
    let Comparison { campaign, shadow, .. } = comparison;
    let mut text = output::table(
        ["campaign", "version", "decisions", "sends", "of them", "failed"],
        [campaign, shadow].into_iter().map(|side| {
            [
                side.name.clone(),
                if side.version.is_empty() { "-".to_owned() } else { side.version.clone() },
                side.decisions.to_string(),
                side.sends.to_string(),
                share(side),
                side.failed.to_string(),
            ]
        }),
    );
    text.push('\n');
    if let Some(percent) = rollout_percent {
        let (name, of) = (&shadow.name, &campaign.name);
        let _ = writeln!(text, "{name} decides in the place of {of} for {percent} % of the customers");
        return text;
    }
    let counts = [
        (comparison.alike, "alike".to_owned()),
        (comparison.only_shadow_sends, format!("only {} sends", shadow.name)),
        (comparison.only_campaign_sends, format!("only {} sends", campaign.name)),
        (comparison.send_otherwise, "both send, and not the same (number, channel, template or data)".to_owned()),
        (comparison.end_otherwise, "one of the two failed, was skipped or waits".to_owned()),
        (comparison.schedule_otherwise, "other timers set or cancelled".to_owned()),
        (comparison.unpaired, format!("of {} alone: before there was a shadow, or nothing came of it", campaign.name)),
        (comparison.passed_over, "not compared: too many at once, try --since".to_owned()),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "{count:>10}  {what}");
    }
    for Difference { how, campaign: ours, shadow: theirs } in &comparison.differences {
        let Some(decision) = ours.as_ref().or(theirs.as_ref()) else { continue };
        let what = decision.event_code.as_deref().or(decision.timer.as_deref()).unwrap_or("-");
        let customer = decision.customer.as_deref().unwrap_or("nobody");
        let _ = writeln!(text, "\n{}  {what}  customer {customer}: {}", Moment(decision.at, zone), words(*how));
        for (name, decision) in [(&campaign.name, ours), (&shadow.name, theirs)] {
            let _ = writeln!(text, "  {name}: {}", decision.as_ref().map_or("was not asked".to_owned(), does));
        }
    }
    let all = comparison.compared - comparison.alike;
    let shown = comparison.differences.len() as u64;
    if shown < all {
        let _ = writeln!(text, "\n… and {} more: --limit N", all - shown);
    }
    text
}

fn share(side: &Side) -> String {
    match side.decisions {
        0 => "-".to_owned(),
        decisions => format!("{:.1} %", side.sends as f64 * 100.0 / decisions as f64),
    }
}

fn words(how: How) -> &'static str {
    match how {
        How::OnlyShadowSends => "only the new version sends",
        How::OnlyCampaignSends => "only the campaign sends",
        How::SendOtherwise => "both send, and not the same",
        How::EndOtherwise => "one of the two was not answered",
        How::ScheduleOtherwise => "other timers",
    }
}

/// What one of the two does, and why.
fn does(decision: &Decision) -> String {
    let mut parts: Vec<String> =
        decision.communications.iter().map(|sent| format!("sends {} {}", sent.channel, sent.template)).collect();
    parts.extend(decision.scheduled.iter().map(|timer| format!("sets {timer}")));
    parts.extend(decision.cancelled.iter().map(|timer| format!("cancels {timer}")));
    if decision.decision != "answered" {
        parts.push(decision.decision.clone());
    } else if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    let why: Vec<&str> =
        decision.reason.as_deref().into_iter().chain(decision.notes.iter().map(String::as_str)).collect();
    let mut text = parts.join(", ");
    if !why.is_empty() {
        text += &format!(" ({})", why.join("; "));
    }
    text
}
