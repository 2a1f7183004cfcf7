//! `hailer why`: shows what happened to one customer, and why.

use clap::Args;
use jiff::tz::TimeZone;

use super::customer::IdKind;
use super::moment::{moment, zone};
use super::settings::{Global, StoreFlags};
use super::store_access::{StoreAccess, store_access};
use super::{DONE, EXIT_CODES, engine, logging, output};
use crate::engine::{one_line, shown};
use crate::explain::{
    self, Cause, CustomerIdKind, EarlierDecision, ExplainQuery, ExplainedEvent, Explanation, Line,
    NO_EVENT_SEEN, RunningCampaign, Subject, ZonedTime,
};
use crate::store::Store;

/// The maximum length of a text from a rule, in bytes.
const WORDS_BYTES_MAX: usize = 1024;

const RESULTS: &str = "\
Results:
  no event seen                            nothing is known of this customer
  campaign not loaded, off or not started  the campaign takes such events, but was not called
  condition did not match (CONDITION)      the campaign takes such events where this holds, and no
                                           call is recorded; it may also not have run
  outside rollout                          the campaign does not decide for this customer yet
  missed (REASON), …                       the campaign was paused or suspended; the event is kept
                                           for later, was decided later, or was not kept
  dropped by an operator; …                the event was kept, and will not be decided
  rule chose nothing (NOTE)                the rule was called, and its notes say why
  suppressed (REASON)                      a policy did not permit it; REASON has the policy's name
                                           and the circumstances
  deferred until TIME                      until a timer is due, until quiet hours end, until the
                                           sink confirms a communication, or until an earlier
                                           failure is settled
  failed (ERROR)                           the rule faulted
  published                                the sink has confirmed it";

/// Show what happened to a customer, and why they did or did not get a message
///
/// Prints every event and timer of the customer, the oldest first. Below each is a line for every
/// result of a campaign: for each communication, for each timer that it set, or for no action.
/// Pending timers are at the end. The possible results are listed below. The release of messages
/// that quiet hours deferred is an entry of its own, with the event on which each was decided.
///
/// The engine knows from the rules that run now which campaigns should have been called. Without a
/// running engine, only the campaign of --campaign is considered.
///
/// A customer is found by the id that the engine uses for them: customerId if their events have
/// one, else customerUid, else accountGroupId. Merged customers are followed. Asks the running
/// engine, or reads the store of a stopped one.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "{RESULTS}\n\nExamples:\n  hailer why 8814\n  hailer why 8814 --campaign welcome --since 7d\n  \
     hailer why 6f1c0a52-… --by uid --json | jq '.events[].lines[]'\n  \
     hailer why 8814 --store /var/lib/hailer/store --environment production\n\n{EXIT_CODES}",
))]
pub(super) struct Why {
    /// The customer's id, as the source writes it
    #[arg(allow_negative_numbers = true)]
    customer: String,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long)]
    by: Option<IdKind>,
    /// Only the results of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only events since this time: a span back from now such as 7d, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Why {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let zone = zone(self.utc);
        let since = self.since.as_deref().map(|text| moment("--since", text, &zone)).transpose()?;
        let by = self.by.map(CustomerIdKind::from);
        let question = ExplainQuery { customer: self.customer, by, campaign: self.campaign, since };
        let explanation = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => engine::wait(client.why(&question))??,
            StoreAccess::Stopped(stopped) => explain::explain(
                &*stopped.open()?.snapshot()?,
                &question,
                None::<&[RunningCampaign]>,
            )?,
        };
        if global.json {
            output::json(&explanation)?;
        } else {
            output::data(&text(&explanation, &question, &zone))?;
        }
        Ok(DONE)
    }
}

/// The history of a customer, as text.
pub(super) fn text(explanation: &Explanation, question: &ExplainQuery, zone: &TimeZone) -> String {
    let Some(by) = explanation.found_by else { return format!("{NO_EVENT_SEEN}\n") };
    let zone_name = zone.iana_name().unwrap_or("the machine's zone");
    let mut text = format!(
        "customer {}, known by {}; times in {zone_name}\n",
        shown(&question.customer),
        by.name()
    );
    for by in &explanation.also_by {
        text += &format!(
            "there are also events with this {}, perhaps of another customer: see --by\n",
            by.name()
        );
    }
    if let Some(became) = &explanation.became {
        text += &format!("this customer was merged into {}\n", short(became));
    }
    if !explanation.absorbed.is_empty() {
        let absorbed: Vec<_> = explanation.absorbed.iter().map(|key| short(key)).collect();
        text += &format!("merged into this customer: {}\n", absorbed.join(", "));
    }
    if explanation.is_cut {
        text += "there are older events, which are too many to show; see `hailer decisions \
            export`\n";
    }
    for explained in &explanation.events {
        text += &format!("\n{}", event(explained, zone));
    }
    if explanation.events.is_empty() {
        text += &format!("\n{NO_EVENT_SEEN}\n");
    }
    if !explanation.timers.is_empty() {
        text += "\npending timers:\n";
    }
    for timer in &explanation.timers {
        let (campaign, name) = (shown(&timer.campaign), shown(&timer.name));
        text += &format!("  {campaign}, timer `{name}`: due {}\n", ZonedTime(timer.due, zone));
    }
    text + &footer(explanation, question, zone)
}

/// A line that says which events are not shown, and why; empty if all are shown.
fn footer(explanation: &Explanation, question: &ExplainQuery, zone: &TimeZone) -> String {
    let mut left_out = Vec::new();
    if let Some(campaign) = question.campaign.as_ref().filter(|_| explanation.others > 0) {
        let (count, campaign) = (explanation.others, shown(campaign));
        left_out.push(format!("events that do not concern {campaign}: {count}"));
    }
    if let Some(since) = question.since {
        left_out.push(format!("events before {}", ZonedTime(since, zone)));
    }
    if let Some(kept_since) =
        explanation.kept_since.filter(|kept| question.since.is_none_or(|since| *kept > since))
    {
        left_out.push(format!("events before {}, which are not kept", ZonedTime(kept_since, zone)));
    }
    if left_out.is_empty() {
        String::new()
    } else {
        format!("\nnot shown: {}\n", left_out.join("; "))
    }
}

fn event(explained: &ExplainedEvent, zone: &TimeZone) -> String {
    let cause = match &explained.cause {
        Cause::Event { code } => shown(code),
        Cause::Timer { campaign, name, due } => {
            format!("timer `{}` of {}, due {}", shown(name), shown(campaign), ZonedTime(*due, zone))
        }
        Cause::Release { due } => {
            format!("release of deferred messages, due {}", ZonedTime(*due, zone))
        }
    };
    let whose = explained
        .customer
        .as_ref()
        .map_or_else(String::new, |key| format!(", of customer {}", short(key)));
    let named = explained.named.as_ref();
    let named = named.map_or_else(String::new, |key| {
        format!(", under the id of customer {}, who was merged", short(key))
    });
    let again = explained
        .again
        .map_or_else(String::new, |came| format!(", retried, came {}", ZonedTime(came, zone)));
    let mut text = format!(
        "{}  {cause} (event {}{whose}{named}{again})\n",
        ZonedTime(explained.at, zone),
        explained.event_id
    );
    let is_release = matches!(explained.cause, Cause::Release { .. });
    for explained in &explained.lines {
        text += &format!("  {}\n", line(explained, is_release, zone));
    }
    text
}

fn line(line: &Line, is_release: bool, zone: &TimeZone) -> String {
    let mut parts = vec![shown(&line.campaign)];
    if let Some(version) = &line.version {
        parts[0] += &format!(" {}", shown(version));
    }
    match &line.subject {
        Some(Subject::Communication { channel, template, .. }) => {
            let what = format!("{channel} `{}`", one_line(template, WORDS_BYTES_MAX));
            parts.push(match &line.decided {
                None => what,
                Some(EarlierDecision { event_id, at }) => {
                    let prefix = if is_release { "released" } else { "deferred" };
                    format!("{prefix} {what}, decided {} on event {event_id}", ZonedTime(*at, zone))
                }
            });
        }
        Some(Subject::Timer { name }) => parts.push(format!("timer `{}`", shown(name))),
        // The notes are the reason.
        None => {}
    }
    if line.subject.is_some() {
        parts.extend(
            line.notes.iter().map(|note| format!("note “{}”", one_line(note, WORDS_BYTES_MAX))),
        );
    }
    parts.extend(line.cancelled.iter().map(|name| format!("cancelled timer `{}`", shown(name))));
    if line.state_changed {
        parts.push("changed its state".to_owned());
    }
    let result = line.result.text(zone);
    format!("{}: {}", parts.join(", "), one_line(&result, result.len()))
}

/// The first letters of a key, enough to distinguish it from others.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::fixture::{History, answers, customer, entry, outcome};
    use crate::explain::{history_of_policies, history_with_every_result};

    fn explained(history: &History, question: &ExplainQuery, zone: &str) -> String {
        let running = [RunningCampaign {
            campaign: "later".into(),
            codes: vec!["*".into()],
            in_place_of: None,
            conditions: Vec::new(),
        }];
        let explanation =
            explain::explain(&*history.store.snapshot().unwrap(), question, Some(&running))
                .unwrap();
        text(&explanation, question, &TimeZone::get(zone).unwrap())
    }

    fn ask(id: &str) -> ExplainQuery {
        ExplainQuery { customer: id.into(), ..ExplainQuery::default() }
    }

    #[test]
    fn a_story_in_words() {
        let history = history_with_every_result();
        insta::assert_snapshot!(explained(&history, &ask("7"), "Europe/Moscow"));
    }

    #[test]
    fn the_verdicts_of_policies_in_words() {
        let history = history_of_policies();
        insta::assert_snapshot!(explained(&history, &ask("7"), "Europe/Moscow"));
    }

    #[test]
    fn a_part_of_a_merged_story_in_words() {
        let mut history = history_with_every_result();
        history.merge("7", "8");
        history.commit(
            vec![entry("8", 61, "OnPurchaseConfirm", vec![outcome("later", answers(vec![], &[]))])],
            &[],
        );
        let since = Some("2026-03-01T08:01:00Z".parse().unwrap());
        insta::assert_snapshot!(explained(
            &history,
            &ExplainQuery { campaign: Some("later".into()), since, ..ask("8") },
            "UTC"
        ));
    }

    #[test]
    fn an_event_with_the_id_of_a_merged_customer_is_marked() {
        let mut history = History::new();
        history.merge("7", "8");
        let late = entry("8", 0, "OnPurchaseConfirm", vec![]);
        let late = crate::records::JournalEntry { named: Some(customer("7")), ..late };
        history.commit(vec![late, entry("8", 1, "OnPurchaseConfirm", vec![])], &[]);
        let text = explained(&history, &ask("8"), "UTC");
        assert_eq!(text.matches(", who was merged)").count(), 1, "{text}");
    }

    #[test]
    fn an_unknown_customer_is_one_line() {
        assert_eq!(explained(&History::new(), &ask("7"), "UTC"), "no event seen\n");
    }

    #[test]
    fn text_from_a_rule_cannot_add_a_line() {
        let mut history = History::new();
        let lying = "nothing)\n  other 1.0: published\u{202e}";
        history.commit(
            vec![entry("7", 0, "On\nEvent", vec![outcome("liar", answers(vec![], &[lying]))])],
            &[],
        );
        let text = explained(&history, &ask("7"), "UTC");
        assert!(!text.lines().any(|line| line.ends_with("published")), "{text}");
        assert!(text.contains("(nothing)\\n  other 1.0: published\\u{202e})"), "{text}");
    }
}
