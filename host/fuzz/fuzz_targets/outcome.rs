//! Any bytes as the output of a guest for calls of an event, a timer or a merge. Nothing panics,
//! every outcome has bytes, and an accepted outcome is within the bounds of the ABI. Its data is a
//! JSON object without duplicate keys.

#![no_main]

use std::collections::HashSet;
use std::fmt;

use hailer::engine::{Action, Outcomes, StateChange, read_manifest};
use hailer_abi::manifest::Manifest;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

const MANIFEST: &str = r#"{"abi":1,"name":"r","version":"1","stateVersion":1,"handlers":[
    {"name":"e","events":["*"]},{"name":"t","timer":"t"},{"name":"m","merge":true}]}"#;
const MERGE: u32 = 2;

thread_local! {
    static RULE: Manifest = read_manifest(MANIFEST.as_bytes()).unwrap();
}

fuzz_target!(|input: &[u8]| {
    let Some((handler, bytes)) = input.split_first() else { return };
    RULE.with(|manifest| check(bytes, manifest, u32::from(*handler) % 3));
});

fn check(bytes: &[u8], manifest: &Manifest, handler: u32) {
    let mut outcomes = Outcomes::new(bytes, manifest, handler);
    let mut bytes_read = 0;
    while outcomes.end().is_err() {
        let Ok((outcome, its_bytes)) = outcomes.next() else { return };
        // An outcome has an array's head, an error, a state, and an array of actions.
        assert!(its_bytes.len() >= 4);
        assert_eq!(its_bytes, &bytes[bytes_read..bytes_read + its_bytes.len()]);
        bytes_read += its_bytes.len();
        assert!(outcome.actions.len() <= 64);
        assert!(
            outcome.error.is_none()
                || outcome.actions.is_empty() && outcome.state == StateChange::Unchanged
        );
        let only_notes = outcome.actions.iter().all(|action| matches!(action, Action::Note(_)));
        assert!(handler != MERGE || only_notes);
        for action in &outcome.actions {
            match action {
                Action::Note(text) => assert!(!text.contains(char::is_control)),
                Action::Cancel { timer } => assert_eq!(*timer, 1),
                Action::Schedule { timer, when } => {
                    assert_eq!(*timer, 1);
                    let _ = when.resolve(1_764_547_200_000, &TimeZone::UTC);
                }
                Action::Send { template, data, .. } => {
                    assert!((1..=256).contains(&template.len()));
                    assert!(data.starts_with('{'));
                    let mut reader = serde_json::Deserializer::from_str(data);
                    KeysOnce.deserialize(&mut reader).unwrap();
                    reader.end().unwrap();
                }
            }
        }
    }
    assert_eq!(bytes_read, bytes.len());
}

/// Reads any JSON, and checks that no object has a duplicate key.
#[derive(Clone, Copy)]
struct KeysOnce;

impl<'de> DeserializeSeed<'de> for KeysOnce {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeysOnce {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without a repeated key")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            assert!(keys.insert(key), "a key is duplicate");
            entries.next_value_seed(self)?;
        }
        Ok(())
    }
}
