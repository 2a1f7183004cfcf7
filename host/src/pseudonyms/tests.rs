//! Personal values are replaced, other values stay byte for byte, and each customer stays one
//! customer.

use std::collections::HashSet;

use hailer_abi::catalogue::EVENTS;
use serde_json::{Value, json};

use super::*;
use crate::generate::{Generator, Options};

fn pseudonyms(kept: &[&str]) -> Pseudonyms {
    let kept: Vec<String> = kept.iter().map(|path| (*path).to_owned()).collect();
    Pseudonyms::new(&Key::of_test(7), &kept)
}

fn replaced(pseudonyms: &Pseudonyms, body: &str) -> String {
    let event = Event::read(body.to_owned().into()).unwrap();
    let mut out = Vec::new();
    pseudonyms.replace(&event, &mut out);
    String::from_utf8(out).unwrap()
}

fn value(pseudonyms: &Pseudonyms, body: &Value) -> Value {
    serde_json::from_str(&replaced(pseudonyms, &body.to_string())).unwrap()
}

#[test]
fn a_customer_has_one_pseudonym_as_number_and_text_and_shares_it_with_no_other() {
    let pseudonyms = pseudonyms(&[]);
    let all: HashSet<String> =
        (1000..10_000).map(|id| pseudonyms.shapes.text(&id.to_string())).collect();
    assert_eq!(all.len(), 9000, "a permutation");
    assert!(all.iter().all(|text| text.len() == 4 && !text.starts_with('0')));
    let customer = json!({"customerId": 7001, "accountgroupId": "7001"});
    let body = json!({"eventCode": "OnBeginRegistration", "customerInfo": customer});
    let info = &value(&pseudonyms, &body)["customerInfo"];
    assert_ne!(info["customerId"], 7001);
    assert_eq!(info["customerId"].to_string(), info["accountgroupId"].as_str().unwrap());
    let other = Pseudonyms::new(&Key::of_test(8), &[]);
    assert_ne!(
        other.shapes.text("7001"),
        pseudonyms.shapes.text("7001"),
        "another key, another pseudonym"
    );
}

#[test]
fn every_pseudonym_has_the_shape_of_the_original() {
    let shapes = &pseudonyms(&[]).shapes;
    for text in ["020000008", "+7 (916) 123-45-67", "00000012345678901234567890", "7", "2026-03-01"]
    {
        let other = shapes.text(text);
        let pattern = |text: &str| {
            text.chars()
                .map(|letter| if letter.is_ascii_digit() { '9' } else { letter })
                .collect::<String>()
        };
        let zeros = |text: &str| {
            text.chars().filter(char::is_ascii_digit).take_while(|digit| *digit == '0').count()
        };
        assert_eq!(
            (pattern(&other), zeros(&other)),
            (pattern(text), zeros(text)),
            "{text} {other}"
        );
        assert!(other != text || text.len() == 1, "{text}");
    }
    for literal in ["-6.6700", "0.0012", "12e400", "135"] {
        let other = shapes.number(literal);
        assert!(other.len() == literal.len() && other != literal, "{literal} {other}");
        assert!(serde_json::from_str::<&serde_json::value::RawValue>(&other).is_ok(), "{other}");
    }
    let uuid = shapes.text("d4119aee-c0b1-48ea-902f-82beed917270");
    assert!(is_like(&uuid, "xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx"), "{uuid}");
    assert!(is_like(&shapes.text("9f3ac1d29f3ac1d2"), "xxxxxxxxxxxxxxxx"));
    assert!(shapes.text("ann@example.org").ends_with("@example.invalid"));
    assert!(shapes.text("Анна Каренина").starts_with("p-"));
    assert_eq!((shapes.text(""), shapes.text("000")), (String::new(), "000".to_owned()));
}

fn is_like(text: &str, pattern: &str) -> bool {
    let same = |(letter, expected): (char, char)| {
        if expected == 'x' { letter.is_ascii_hexdigit() } else { letter == expected }
    };
    text.len() == pattern.len() && text.chars().zip(pattern.chars()).all(same)
}

#[test]
fn in_every_sample_personal_values_go_and_readable_ones_stay_byte_for_byte() {
    let pseudonyms = pseudonyms(&[]);
    for sample in EVENTS {
        let before: Value = match serde_json::from_str(sample.sample) {
            Ok(value) => value,
            // One sample has a trailing comma, which the output lacks.
            Err(_) => serde_json::from_str(
                &sample.sample.replace(",\n}", "\n}").replace(",\r\n}", "\r\n}"),
            )
            .unwrap_or_default(),
        };
        let after: Value = serde_json::from_str(&replaced(&pseudonyms, sample.sample)).unwrap();
        for field in sample.fields {
            for path in field.paths.iter().filter(|path| !path.is_empty()) {
                let (Some(before), Some(after)) = (before.pointer(path), after.pointer(path))
                else {
                    continue;
                };
                let name = path.rsplit('/').next().unwrap();
                let leads = field.personal
                    || name.starts_with("customer")
                    || ["accountgroupId", "accountfroupId", "identifierId", "cardId", "externalId"]
                        .contains(&name);
                let is_something = !(before.is_null() || before == "" || *before == json!([]));
                if leads && is_something {
                    assert_ne!(before, after, "{}: {path} is there still", sample.name);
                } else if field.record.is_none() {
                    assert_eq!(before, after, "{}: {path} is another", sample.name);
                }
            }
        }
    }
    let amounts = replaced(
        &pseudonyms,
        concat!(
            r#"{"eventCode":"OnPurchaseConfirm","#,
            r#""purchaseOperationInfo":{"purchaseData":{"amount":135.0000}}}"#
        ),
    );
    assert!(amounts.contains("135.0000"), "{amounts}");
}

#[test]
fn unknown_members_are_replaced_unless_they_are_listed_as_kept() {
    let body = json!({
        "eventCode": "OnSomethingNew",
        "level": "gold", "visits": 12, "phone": 79_161_234_567_u64, "vip": true, "nothing": null,
        "contacts": {"79161234567": "Ann", "kind": "mobile"},
        "list": [{"name": "Ann", "code": "A1"}],
        "customerInfo": {"customerId": 7001, "nickname": "ann"},
    });
    let after = value(&pseudonyms(&[]), &body);
    let text = after.to_string();
    for gone in ["gold", "79161234567", "Ann", "mobile", "7001", "\"ann\"", "A1"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(
        (&after["visits"], &after["vip"], &after["nothing"]),
        (&json!(12), &json!(true), &Value::Null)
    );
    assert_eq!(after["eventCode"], "OnSomethingNew");

    let kept = value(&pseudonyms(&["/level", "/list/*/code", "/contacts/kind"]), &body);
    assert_eq!(
        (&kept["level"], &kept["list"][0]["code"], &kept["contacts"]["kind"]),
        (&json!("gold"), &json!("A1"), &json!("mobile"))
    );
    assert!(!kept.to_string().contains("Ann"), "{kept}");
}

#[test]
fn an_unknown_member_of_a_known_event_is_replaced_too() {
    let body = concat!(
        r#"{"eventCode":"OnCustomerAttributeUpdate","attributeCode":"Phone","#,
        r#""newValue":"79161234567","operator":"Ann","name\u0040x":1}"#
    );
    let after = replaced(&pseudonyms(&[]), body);
    assert!(
        after.contains("\"Phone\"") && !after.contains("Ann") && !after.contains("79161234567"),
        "{after}"
    );
    assert!(!after.contains("name@x"), "{after}");
}

#[test]
fn every_generated_event_keeps_its_code_and_the_number_of_customers() {
    let pseudonyms = pseudonyms(&[]);
    let options = Options { customers: 50, ..Options::default() };
    let (mut before, mut after) = (HashSet::new(), HashSet::new());
    for body in Generator::new(3, &options).take(3000) {
        let event = Event::read(body.into()).unwrap();
        let mut out = Vec::new();
        pseudonyms.replace(&event, &mut out);
        let again = Event::read(out.into()).unwrap();
        assert_eq!((again.code(), again.was_repaired()), (event.code(), false));
        before.insert(event.customer_key());
        after.insert(again.customer_key());
    }
    assert_eq!(before.len(), after.len());
    assert!(before.len() > 20 && before != after);
}

#[test]
fn a_key_is_created_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("replay.key");
    let made = Key::make(&path).unwrap();
    assert_eq!(made.of_purpose("x"), Key::read(&path).unwrap().of_purpose("x"));
    assert!(matches!(Key::make(&path), Err(KeyError::NotMade { .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Key::read(&path).unwrap_err().to_string().contains("chmod 600"));
    std::fs::write(&path, "secret").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = Key::read(&path).unwrap_err().to_string();
    assert!(error.contains("64 hexadecimal digits") && !error.contains("secret"), "{error}");
}
