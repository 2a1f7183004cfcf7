//! The events that `hailer dev` sends to a rule, again and again: the catalogue's samples of the
//! events that the rule takes, or the lines of a file.

use std::path::Path;

use anyhow::{Context, bail};
use hailer_abi::catalogue::EVENTS;
use hailer_abi::manifest::{ANY_EVENT, Manifest};
use serde_json::Value;

/// The largest file of events, in bytes. A larger one is not meant for looking at decisions.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Feed {
    lines: Vec<String>,
    at: usize,
}

impl Feed {
    /// The catalogue's samples of the events that a rule takes.
    pub(super) fn of_samples(manifest: &Manifest) -> Feed {
        let codes: Vec<&String> =
            manifest.handlers.iter().flat_map(|handler| &handler.events).collect();
        let takes = |code: &str| codes.iter().any(|taken| *taken == code || *taken == ANY_EVENT);
        let taken = EVENTS.iter().filter(|event| event.codes.iter().any(|code| takes(code)));
        // A sample has several lines; in an envelope it becomes one.
        let line = |sample: &str| serde_json::json!({ "body": sample }).to_string();
        Feed { lines: taken.map(|event| line(event.sample)).collect(), at: 0 }
    }

    pub(super) fn of_file(file: &Path) -> anyhow::Result<Feed> {
        let failed = || format!("cannot read {}", file.display());
        let length = std::fs::metadata(file).with_context(failed)?.len();
        if length > FILE_BYTES_MAX {
            bail!(
                "{} has {length} bytes, and at most {FILE_BYTES_MAX} are read: use its first lines",
                file.display()
            );
        }
        let text = std::fs::read_to_string(file).with_context(failed)?;
        let lines: Vec<String> =
            text.lines().filter(|line| !line.trim().is_empty()).map(repeatable).collect();
        if lines.is_empty() {
            bail!("{} holds no event: `hailer events --generate 100` prints some", file.display());
        }
        Ok(Feed { lines, at: 0 })
    }

    /// The next event; `None` if the catalogue has no sample of any event that the rule takes.
    pub(super) fn next(&mut self) -> Option<&str> {
        let at = self.at;
        self.at = (at + 1) % self.lines.len().max(1);
        self.lines.get(at).map(String::as_str)
    }
}

/// An envelope without its message id, by which the engine would recognise the event as a copy.
fn repeatable(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(Value::Object(mut envelope))
            if !envelope.contains_key("eventCode") && envelope.contains_key("body") =>
        {
            envelope.remove("messageId");
            Value::Object(envelope).to_string()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_gets_the_samples_of_its_events_again_and_again() {
        let manifest = |events: &str| {
            let text = format!(
                r#"{{"abi":1,"name":"x","version":"1.0.0",
                    "handlers":[{{"name":"h","events":[{events}]}}]}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let mut feed = Feed::of_samples(&manifest(r#""OnPurchaseConfirm""#));
        assert!(feed.next().unwrap().contains("OnPurchaseConfirm"));
        assert!(feed.next().unwrap().contains("OnPurchaseConfirm"));
        assert_eq!(Feed::of_samples(&manifest(r#""*""#)).lines.len(), EVENTS.len());
        assert_eq!(Feed::of_samples(&manifest(r#""OnNothing""#)).next(), None);
    }

    #[test]
    fn an_envelope_loses_its_id_and_a_plain_message_is_unchanged() {
        assert_eq!(repeatable(r#"{"messageId":"7","body":"{}"}"#), r#"{"body":"{}"}"#);
        let message = r#"{"eventCode":"OnX", "messageId":"7","body":"{}"}"#;
        assert_eq!(repeatable(message), message);
    }
}
