//! Personal data of events never appears in a log, at any level, or over TCP.

use hailer_tests::site::Site;
use hailer_tests::wiring::Wiring;

use crate::examples::examples;
use crate::support::shared_broker;

/// Card numbers and a phone number of the examples, and a name that is in no example.
const PERSONAL: [&str; 8] = [
    "1664669457201226",
    "3515656237264935",
    "4510721265576184",
    "4237436357530502",
    "020000008",
    "020000001",
    "79540286267",
    "Ignatyeva",
];

/// Invalid bodies that tempt a parser to put their content into an error.
const BROKEN: [&str; 5] = [
    r#"{"eventCode":"OnBlockCard","cardInfo":{"cardNumber":"4237436357530502""#,
    r#"{"eventCode":"OnBlockCard","cardInfo":{"cardNumber":4237436357530502.}}"#,
    r#"{"eventCode":"OnBlockCard","Ignatyeva":{"79540286267":tru}}"#,
    r#"{"newValue":"79540286267"}"#,
    r#""79540286267""#,
];

/// Valid bodies with fields of another type than rules expect.
const MISTYPED: [&str; 2] = [
    "{\"eventCode\":\"OnBlockCard\",\"targetBlockState\":\"Ignatyeva\",\
     \"cardInfo\":{\"cardNumber\":{\"79540286267\":1}},\"customerInfo\":{\"customerId\":1}}",
    "{\"eventCode\":\"OnCustomerAttributeUpdate\",\"attributeCode\":\"Phone\",\
     \"fromBatchOperation\":\"79540286267\",\"newValue\":[\"79540286267\"],\
     \"customerInfo\":{\"customerId\":1}}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn logs_and_tcp_never_contain_personal_data() {
    let wiring = Wiring::named(shared_broker(), "privacy").await;
    for queue in [&wiring.events, &wiring.letters] {
        wiring.client.queue(queue).await;
    }
    wiring.client.exchange(&wiring.exchange, &[]).await;
    let site = Site::with_examples();
    let flags = wiring.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--log-level", "debug"]);
    let engine = site.start(&flags);
    wiring.send(BROKEN).await;
    wiring.send(MISTYPED).await;
    wiring.send(examples().into_iter().map(|(_, _, body)| body)).await;
    // No queue receives the communications at first, so the broker returns them.
    engine.ready_with("no queue is bound to exchange").await;
    let mut shown = vec![engine.readyz().await.1];
    wiring.bind_out().await;
    engine.ready().await;
    assert_eq!(wiring.communications(14).await.len(), 14);
    let letters = wiring.client.take_many(&wiring.letters, BROKEN.len()).await;
    shown.extend(letters.iter().map(|letter| letter.header("x-hailer-reason").unwrap()));
    shown.extend([engine.metrics().await, engine.readyz().await.1]);
    engine.signal(rustix::process::Signal::TERM);
    let mut engine = engine;
    assert_eq!(engine.ended().await, Some(0));
    shown.push(engine.stderr());
    assert!(shown.iter().any(|text| text.contains("DEBUG")), "the log has the level DEBUG");
    for text in &shown {
        for personal in PERSONAL {
            let line = text.lines().find(|line| line.contains(personal));
            assert!(line.is_none(), "{personal} in {}", line.unwrap_or_default());
        }
    }
}
