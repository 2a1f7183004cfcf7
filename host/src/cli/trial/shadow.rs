//! `hailer shadow`: compares a campaign with the version of it that is on trial.

use std::fmt::Write;

use clap::Args;

use super::super::moment::{moment, zone};
use super::super::progress::{Progress, Total};
use super::super::settings::{Global, StoreFlags};
use super::super::store_access::{StoreAccess, store_access};
use super::super::{DONE, EXIT_CODES, engine, logging, output};
use super::files::{Trial, site};
use crate::explain::{
    self, Comparison, Decision, DecisionPage, DecisionQuery, Difference, DifferenceKind, Side,
    ZonedTime,
};
use crate::store::Store;

/// Compare a campaign with the version of it that is on trial
///
/// A shadow (`mode = "shadow"`, `shadow_of = "welcome"`) decides every event beside its campaign,
/// and nothing that it decides is published. The command shows on how many events and timers the
/// two agree, and each difference with the communications and notes of both. When a shadow first
/// decides for a customer, it copies the state and timers that the campaign keeps for that
/// customer. From then on its state is its own, as it would be if it were live.
///
/// A canary (`mode = "live"`, `shadow_of = "welcome"`, `rollout_percent = 10`) decides instead of
/// its campaign for its customers. So there are no two decisions to compare. The command shows how
/// often each of the two sends and fails.
///
/// The comparison uses the journal, for as long as it is kept. The journal holds a hash of the data
/// of a communication, not the data. So the command shows that data differs, but not how; `hailer
/// replay --diff` shows that on recorded events.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer shadow welcome\n  hailer shadow welcome --since 2h --limit 100\n  \
     hailer shadow welcome --json | jq '.differences[] | select(.how == \"only-shadow-sends\") | \
     .shadow.customer'\n\n{EXIT_CODES}",
))]
pub(in super::super) struct Shadow {
    /// The campaign, or the version of it that is on trial
    campaign: String,
    /// Only decisions since this time: a span back from now such as 2h, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The maximum number of differences to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    /// The rules directory [default: that of the running engine]
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
        let comparison = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => {
                compare(comparison, query, |query| Ok(engine::wait(client.decisions(query))??))?
            }
            StoreAccess::Stopped(stopped) => {
                let store = stopped.open()?;
                compare(comparison, query, |query| {
                    Ok(explain::decisions(&*store.snapshot()?, query)?)
                })?
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
    let mut progress = Progress::new(Total::Unknown);
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

fn text(
    comparison: &Comparison,
    rollout_percent: Option<i64>,
    zone: &jiff::tz::TimeZone,
) -> String {
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
        let _ =
            writeln!(text, "{name} decides in the place of {of} for {percent} % of the customers");
        return text;
    }
    let counts = [
        (comparison.alike, "alike".to_owned()),
        (comparison.only_shadow_sends, format!("only {} sends", shadow.name)),
        (comparison.only_campaign_sends, format!("only {} sends", campaign.name)),
        (
            comparison.send_otherwise,
            "both send, but not the same (number, channel, template or data)".to_owned(),
        ),
        (comparison.end_otherwise, "one of the two failed, was skipped or is held".to_owned()),
        (comparison.schedule_otherwise, "other timers set or cancelled".to_owned()),
        (
            comparison.unpaired,
            format!(
                "decided by {} alone: before the shadow existed, or without a communication",
                campaign.name
            ),
        ),
        (comparison.passed_over, "not compared: too many at once; use --since".to_owned()),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(text, "{count:>10}  {what}");
    }
    for Difference { how, campaign: ours, shadow: theirs } in &comparison.differences {
        let Some(decision) = ours.as_ref().or(theirs.as_ref()) else { continue };
        let what = decision.event_code.as_deref().or(decision.timer.as_deref()).unwrap_or("-");
        let customer = decision.customer.as_deref().unwrap_or("none");
        let _ = writeln!(
            text,
            "\n{}  {what}  customer {customer}: {}",
            ZonedTime(decision.at, zone),
            words(*how)
        );
        for (name, decision) in [(&campaign.name, ours), (&shadow.name, theirs)] {
            let _ = writeln!(
                text,
                "  {name}: {}",
                decision.as_ref().map_or("was not called".to_owned(), does)
            );
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

fn words(how: DifferenceKind) -> &'static str {
    match how {
        DifferenceKind::OnlyShadowSends => "only the new version sends",
        DifferenceKind::OnlyCampaignSends => "only the campaign sends",
        DifferenceKind::SendOtherwise => "both send, but not the same",
        DifferenceKind::EndOtherwise => "one of the two gave no answer",
        DifferenceKind::ScheduleOtherwise => "other timers",
    }
}

/// The actions of one of the two decisions in words, and the reason.
fn does(decision: &Decision) -> String {
    let mut parts: Vec<String> = decision
        .communications
        .iter()
        .map(|sent| format!("sends {} {}", sent.channel, sent.template))
        .collect();
    parts.extend(decision.scheduled.iter().map(|timer| format!("sets {timer}")));
    parts.extend(decision.cancelled.iter().map(|timer| format!("cancels {timer}")));
    if decision.decision != "answered" {
        parts.push(decision.decision.clone());
    } else if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    let why: Vec<&str> = decision
        .reason
        .as_deref()
        .into_iter()
        .chain(decision.notes.iter().map(String::as_str))
        .collect();
    let mut text = parts.join(", ");
    if !why.is_empty() {
        text += &format!(" ({})", why.join("; "));
    }
    text
}
