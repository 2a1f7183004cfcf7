//! Writes what a store knows about consents as lines that an import reads.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::clock_report::time;
use crate::consents::{Statement, key_text};
use crate::policies::ImportedConsent;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Answers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

/// The channels of a consent, each with true for yes and false for no. The values of the source
/// are not kept, and these mean the same under all policies.
struct Answers<'a>(&'a ImportedConsent);

impl Serialize for Answers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for channel in self.0.channels.iter() {
            map.serialize_entry(channel.name(), &self.0.agreed.contains(channel))?;
        }
        map.end()
    }
}

/// Appends a statement as a line.
pub fn append_line(statement: &Statement, out: &mut Vec<u8>) {
    let consent = statement.consent.as_ref();
    let row = Row {
        key: key_text(statement.customer),
        subscription: consent.map(|consent| &*consent.subscription),
        channels: consent.map(Answers),
        time_zone: statement.time_zone.as_deref(),
        at: consent.map(|consent| time(consent.at).to_string()),
    };
    // A row has only texts and truth values, so writing it cannot fail.
    if serde_json::to_writer(&mut *out, &row).is_ok() {
        out.push(b'\n');
    }
}
