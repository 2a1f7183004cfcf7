//! The twelve example messages of the source, byte for byte, through the whole engine.

use hailer_tests::built::checkout;
use hailer_tests::site::Site;
use hailer_tests::wiring::Wiring;
use serde_json::{Value, json};

use crate::support::shared_broker;

/// The routing key, the event code and the body of each example.
pub(crate) fn examples() -> Vec<(String, String, Vec<u8>)> {
    let events = checkout().join("guest-sdk/abi/events");
    let index = std::fs::read_to_string(events.join("index.tsv")).unwrap();
    let row = |line: &str| {
        let [routing_key, code, file] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        (routing_key.to_owned(), code.to_owned(), std::fs::read(events.join(file)).unwrap())
    };
    index.lines().skip(1).map(row).collect()
}

/// The expected communications: event code, routing key, template and customer.
const EXPECTED: [(&str, &str, &str, &str); 14] = [
    ("MergeCustomersProfiles", "communication.mail.merge-notice", "profiles-merged", "11"),
    ("OnBeginRegistration", "communication.sms.registration-help", "registration-help", "121"),
    ("OnBlockCard", "communication.sms.card-security", "card-blocked", "18"),
    ("OnCardActivation", "communication.push.card-activated", "card-activated-vip", "24"),
    ("OnCardReplace", "communication.sms.card-security", "card-replaced", "11"),
    ("OnChangeCategoryCard", "communication.push.category-upgrade", "category-top", "42"),
    ("OnCustomerAttributeUpdate", "communication.sms.confirm-phone", "confirm-phone", "126"),
    ("OnCustomerSubscriptionChange", "communication.mail.consent-change", "consent-change", "164"),
    ("OnDeleteCard", "communication.sms.card-security", "card-deleted", "42"),
    ("OnEndRegistration", "communication.mail.welcome", "welcome", "121"),
    ("OnEndRegistration", "communication.push.welcome", "welcome", "121"),
    ("OnPurchaseConfirm", "communication.push.big-basket", "big-basket", "107"),
    ("OnPurchaseRefund", "communication.mail.refund-after-reward", "refund-after-reward", "107"),
    ("OnPurchaseRefund", "communication.mail.refund-follow-up", "refund-follow-up", "107"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_twelve_examples_lead_to_the_expected_communications() {
    let wiring = Wiring::named(shared_broker(), "seed").await;
    let site = Site::with_examples();
    wiring.client.exchange("seed.loymax", &[]).await;
    let flags = wiring.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let topology = [&["topology", "--apply", "--own-queue-on", "seed.loymax"], &flags[..]].concat();
    let _ = site.command(&topology).expect(0);
    wiring.bind_out().await;

    flags.extend(["--set", "environment=seed-test"]);
    let engine = site.start(&flags);
    engine.ready().await;
    for (routing_key, _, body) in examples() {
        wiring.client.publish("seed.loymax", &routing_key, [body]).await;
    }
    let mut found = Vec::new();
    for (message, body) in wiring.communications(EXPECTED.len()).await {
        let properties = &message.properties;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), body["id"]);
        assert_eq!(properties.delivery_mode(), &Some(2), "persistent");
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(
            message.routing_key,
            format!("communication.{}.{}", text(&body["channel"]), text(&body["campaign"]))
        );
        assert_eq!((&body["schema"], &body["environment"]), (&json!(1), &json!("seed-test")));
        let code = text(&body["cause"]["eventCode"]);
        found.push((
            code,
            message.routing_key,
            text(&body["template"]),
            text(&body["recipient"]["customerId"]),
        ));
        if body["campaign"] == "big-basket" {
            let text = String::from_utf8_lossy(&message.body);
            assert!(
                text.contains("\"amount\":135.00,"),
                "a decimal is a number with its digits: {text}"
            );
        }
    }
    found.sort();
    let found: Vec<_> = found
        .iter()
        .map(|(code, key, template, id)| (&**code, &**key, &**template, &**id))
        .collect();
    assert_eq!(found, EXPECTED);

    engine.metric_is("hailer_events_repaired_total", 1.0).await;
    assert_eq!(engine.metric("hailer_events_total{outcome=\"deadletter\"}").await, 0.0);
    engine.stop().await;
    wiring.is_drained().await;
    assert_eq!(wiring.client.counts(&wiring.out).await.0, 0, "no more communications than these");
}

#[test]
fn the_example_policies_name_only_example_campaigns() {
    let site = Site::with_examples();
    let rules = site.rules().display().to_string();
    let check = |policies: &str| {
        site.put("policies.toml", policies);
        site.command(&["check", "--no-broker", "--rules", &rules]).expect(0).stdout
    };
    let policies = std::fs::read_to_string(checkout().join("rules/policies.toml")).unwrap();
    let said = check(&policies);
    assert!(said.contains("rules policies.toml: policies "), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let said = check(&policies.replace("[campaigns.big-basket]", "[campaigns.big-bascet]"));
    assert!(said.contains("warning") && said.contains("`big-basket`"), "{said}");
}
