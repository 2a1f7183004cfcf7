//! `hailer why`: what happened to one customer, and why.

use clap::Args;
use jiff::tz::TimeZone;

use super::customer::IdKind;
use super::moment::{moment, zone};
use super::reading::{Place, place};
use super::settings::{Global, StoreFlags};
use super::{DONE, EXIT_CODES, engine, logging, output};
use crate::engine::{one_line, shown};
use crate::store::Store;
use crate::story::{self, By, Cause, Line, Moment, NO_EVENT_SEEN, Question, Story, Subject, Taker, Told};

/// What is shown of a rule's words, at most.
const WORDS_BYTES_MAX: usize = 1024;

const ENDINGS: &str = "\
Endings:
  no event seen                            nothing is known of such a customer
  campaign not loaded, off or not started  it takes such events, and was not asked
  condition did not match (CONDITION)      it takes such events where this holds, and was
                                           not asked; that it did not run is not ruled out
  outside rollout                          it is not for this customer yet
  missed (REASON), …                       the campaign was paused or suspended; kept to be
                                           decided later, decided later, or not kept
  dropped by an operator; …                it was kept, and will not be decided
  rule chose nothing (NOTE)                the rule was asked, and its notes say why
  suppressed (REASON)                      a policy of the engine did not let it pass
  deferred until TIME                      a timer; or until the sink takes it, or until
                                           an earlier failure is settled
  failed (ERROR)                           the rule faulted
  published                                the sink has confirmed it";

/// Tell what happened to a customer, and why they did or did not get a message
///
/// Tells every event and timer of the customer, the oldest first, and below each a line for whatever a campaign made of it: for each
/// communication, for each timer that it set, or for nothing. Timers that wait stand at the end. How a line can end stands below.
///
/// Which campaigns should have been asked is known from the rules that run now: without a running engine, only of the campaign
/// that --campaign names.
///
/// A customer is found by the id that the engine knows them by: customerId if their events have one, else customerUid, else
/// accountGroupId. Customers that were merged are followed. Asks the running engine, or reads the store of a stopped one.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "{ENDINGS}\n\nExamples:\n  hailer why 8814\n  hailer why 8814 --campaign welcome --since 7d\n  \
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
    /// Only what this campaign made of it
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Nothing before: a span back from now such as 7d, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Times in UTC [default: in the machine's zone]
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
        let by = self.by.map(By::from);
        let question = Question { customer: self.customer, by, campaign: self.campaign, since };
        let story = match place(global, &self.store)? {
            Place::Engine(client) => engine::wait(client.why(&question))??,
            Place::Stopped(stopped) => story::tell(&*stopped.open()?.snapshot()?, &question, None::<&[Taker]>)?,
        };
        if global.json {
            output::json(&story)?;
        } else {
            output::data(&text(&story, &question, &zone))?;
        }
        Ok(DONE)
    }
}

/// The story in words.
pub(super) fn text(story: &Story, question: &Question, zone: &TimeZone) -> String {
    let Some(by) = story.found_by else { return format!("{NO_EVENT_SEEN}\n") };
    let zone_name = zone.iana_name().unwrap_or("the machine's zone");
    let mut text = format!("customer {}, known by {}; times in {zone_name}\n", shown(&question.customer), by.name());
    for by in &story.also_by {
        text += &format!("something is known by this {} too: ask again with --by\n", by.name());
    }
    if let Some(became) = &story.became {
        text += &format!("by a merge this customer has become {}\n", short(became));
    }
    if !story.absorbed.is_empty() {
        let absorbed: Vec<_> = story.absorbed.iter().map(|key| short(key)).collect();
        text += &format!("merged into this customer: {}\n", absorbed.join(", "));
    }
    if story.is_cut {
        text += "there are older events, which would be too much; see `hailer decisions export`\n";
    }
    for told in &story.events {
        text += &format!("\n{}", event(told, zone));
    }
    if story.events.is_empty() {
        text += &format!("\n{NO_EVENT_SEEN}\n");
    }
    if !story.timers.is_empty() {
        text += "\npending timers:\n";
    }
    for timer in &story.timers {
        let (campaign, name) = (shown(&timer.campaign), shown(&timer.name));
        text += &format!("  {campaign}, timer `{name}`: due {}\n", Moment(timer.due, zone));
    }
    text + &footer(story, question, zone)
}

/// What is not shown, and why.
fn footer(story: &Story, question: &Question, zone: &TimeZone) -> String {
    let mut left_out = Vec::new();
    if let Some(campaign) = question.campaign.as_ref().filter(|_| story.others > 0) {
        let (count, campaign) = (story.others, shown(campaign));
        left_out.push(format!("events that have nothing to do with {campaign}: {count}"));
    }
    if let Some(since) = question.since {
        left_out.push(format!("what was before {}", Moment(since, zone)));
    }
    if let Some(kept_since) = story.kept_since.filter(|kept| question.since.is_none_or(|since| *kept > since)) {
        left_out.push(format!("what may have been before {}, as nothing older is kept", Moment(kept_since, zone)));
    }
    if left_out.is_empty() { String::new() } else { format!("\nnot shown: {}\n", left_out.join("; ")) }
}

fn event(told: &Told, zone: &TimeZone) -> String {
    let cause = match &told.cause {
        Cause::Event { code } => shown(code),
        Cause::Timer { campaign, name, due } => {
            format!("timer `{}` of {}, due {}", shown(name), shown(campaign), Moment(*due, zone))
        }
    };
    let whose = told.customer.as_ref().map_or_else(String::new, |key| format!(", of customer {}", short(key)));
    let named = told.named.as_ref();
    let named =
        named.map_or_else(String::new, |key| format!(", under the id of customer {}, who was merged", short(key)));
    let again = told.again.map_or_else(String::new, |came| format!(", tried again, of {}", Moment(came, zone)));
    let mut text = format!("{}  {cause} (event {}{whose}{named}{again})\n", Moment(told.at, zone), told.event_id);
    for told in &told.lines {
        text += &format!("  {}\n", line(told, zone));
    }
    text
}

fn line(line: &Line, zone: &TimeZone) -> String {
    let mut parts = vec![shown(&line.campaign)];
    if let Some(version) = &line.version {
        parts[0] += &format!(" {}", shown(version));
    }
    match &line.subject {
        Some(Subject::Communication { channel, template, .. }) => {
            parts.push(format!("{channel} `{}`", one_line(template, WORDS_BYTES_MAX)));
        }
        Some(Subject::Timer { name }) => parts.push(format!("timer `{}`", shown(name))),
        // The notes are the reason.
        None => {}
    }
    if line.subject.is_some() {
        parts.extend(line.notes.iter().map(|note| format!("note “{}”", one_line(note, WORDS_BYTES_MAX))));
    }
    parts.extend(line.cancelled.iter().map(|name| format!("cancelled timer `{}`", shown(name))));
    if line.state_changed {
        parts.push("changed its state".to_owned());
    }
    let ending = line.ending.text(zone);
    format!("{}: {}", parts.join(", "), one_line(&ending, ending.len()))
}

/// Enough of a key to tell it from others.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::fixture::{History, answers, customer, entry, outcome};
    use crate::story::of_every_ending;

    fn told(history: &History, question: &Question, zone: &str) -> String {
        let takers =
            [Taker { campaign: "later".into(), codes: vec!["*".into()], in_place_of: None, conditions: Vec::new() }];
        let story = story::tell(&*history.store.snapshot().unwrap(), question, Some(&takers)).unwrap();
        text(&story, question, &TimeZone::get(zone).unwrap())
    }

    fn ask(id: &str) -> Question {
        Question { customer: id.into(), ..Question::default() }
    }

    #[test]
    fn a_story_in_words() {
        let history = of_every_ending();
        insta::assert_snapshot!(told(&history, &ask("7"), "Europe/Moscow"));
    }

    #[test]
    fn a_part_of_a_merged_story_in_words() {
        let mut history = of_every_ending();
        history.merge("7", "8");
        history.commit(vec![entry("8", 61, "OnPurchaseConfirm", vec![outcome("later", answers(vec![], &[]))])], &[]);
        let since = Some("2026-03-01T08:01:00Z".parse().unwrap());
        insta::assert_snapshot!(told(&history, &Question { campaign: Some("later".into()), since, ..ask("8") }, "UTC"));
    }

    #[test]
    fn an_event_under_the_id_of_a_merged_customer_says_so() {
        let mut history = History::new();
        history.merge("7", "8");
        let late = entry("8", 0, "OnPurchaseConfirm", vec![]);
        let late = crate::records::JournalEntry { named: Some(customer("7")), ..late };
        history.commit(vec![late, entry("8", 1, "OnPurchaseConfirm", vec![])], &[]);
        let text = told(&history, &ask("8"), "UTC");
        assert_eq!(text.matches(", who was merged)").count(), 1, "{text}");
    }

    #[test]
    fn of_nobody_there_is_one_line() {
        assert_eq!(told(&History::new(), &ask("7"), "UTC"), "no event seen\n");
    }

    #[test]
    fn a_rules_words_can_not_add_a_line() {
        let mut history = History::new();
        let lying = "nothing)\n  other 1.0: published\u{202e}";
        history.commit(vec![entry("7", 0, "On\nEvent", vec![outcome("liar", answers(vec![], &[lying]))])], &[]);
        let text = told(&history, &ask("7"), "UTC");
        assert!(!text.lines().any(|line| line.ends_with("published")), "{text}");
        assert!(text.contains("(nothing)\\n  other 1.0: published\\u{202e})"), "{text}");
    }
}
