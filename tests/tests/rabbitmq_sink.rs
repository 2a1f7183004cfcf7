//! Sinks against a broker that keeps running.

use hailer::health::Health;
use hailer::sinks::{DeadLetterSink, Sink, SinkError};
use hailer_tests::broker::Client;
use hailer_tests::wait;
use lapin::types::AMQPValue;
use tokio::time::{Duration, timeout};

use crate::support::{
    communication, dead_letters, exchange, letter, problem, publish, publishing, ready,
    shared_broker, sink,
};

#[tokio::test(flavor = "multi_thread")]
async fn communications_arrive_in_order_with_all_properties() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("out", &[]).await;
    client.queue("out.sms").await;
    client.bind("out.sms", "out", "communication.sms.*").await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("out"), &health);
    sink.check_route().await.unwrap();
    assert!(health.problems().is_empty());
    // More communications than may be unconfirmed at once.
    let batch: Vec<_> =
        (0..3000).map(|id| communication(id, "communication.sms.welcome")).collect();
    publish(&mut sink, &batch).await.unwrap();
    let messages = client.take_many("out.sms", 3000).await;
    let ids = messages
        .iter()
        .map(|message| message.properties.message_id().as_ref().unwrap().to_string());
    assert!(ids.eq((0..3000).map(|id| id.to_string())));
    let (first, properties) = (&messages[0], &messages[0].properties);
    assert_eq!(first.body, br#"{"id":"0"}"#);
    assert_eq!(first.routing_key, "communication.sms.welcome");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(properties.app_id().as_ref().unwrap().as_str(), "hailer");
    assert_eq!(*properties.timestamp(), Some(1_764_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unroutable_communication_is_retried_and_only_that_one() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("partly", &[]).await;
    client.queue("partly.sms").await;
    client.bind("partly.sms", "partly", "communication.sms.*").await;
    let health = Health::default();
    let sink = sink(&broker.address(), &exchange("partly"), &health);
    let keys = ["communication.sms.a", "communication.mail.a"];
    let batch = (0..100).map(|id| communication(id, keys[usize::from(id % 10 == 3)])).collect();
    let published = publishing(sink, batch);
    problem(&health, "sink", "no queue is bound to exchange `partly`").await;
    assert!(!published.is_finished());
    client.queue("partly.mail").await;
    client.bind("partly.mail", "partly", "communication.mail.*").await;
    wait::end_of("publishing", published).await.unwrap().unwrap();
    ready(&health).await;
    let ids = |messages: Vec<hailer_tests::broker::Message>| -> Vec<String> {
        messages
            .iter()
            .map(|message| message.properties.message_id().as_ref().unwrap().to_string())
            .collect()
    };
    let mail: Vec<_> = (0..10).map(|tens| (tens * 10 + 3).to_string()).collect();
    assert_eq!(ids(client.take_many("partly.mail", 10).await), mail);
    let sms: Vec<_> = (0..100).filter(|id| id % 10 != 3).map(|id| id.to_string()).collect();
    assert_eq!(ids(client.take_many("partly.sms", 90).await), sms);
}

/// The client attaches a returned message to any confirm. So a sink could report a batch as
/// published too early, and its returned messages would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_returned_messages_is_not_reported_as_published() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("close", &[]).await;
    client.queue("close.sms").await;
    client.bind("close.sms", "close", "communication.sms.*").await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("close"), &health);
    // The sink accepts a batch at once only when it has a session.
    sink.check_route().await.unwrap();
    let has_mail = |batch: usize| batch % 3 == 1;
    let [mut sms, mut mail] = [const { Vec::new() }; 2];
    let mut confirms = Vec::new();
    for batch in 0..40 {
        let size = 1 + batch % 7;
        let ids = (0..size).map(|place| format!("{batch}-{place}"));
        let (mails, others): (Vec<_>, Vec<_>) =
            ids.partition(|id| has_mail(batch) && id.ends_with("-0"));
        let communications: Vec<_> = mails
            .iter()
            .map(|id| communication(id, "communication.mail.a"))
            .chain(others.iter().map(|id| communication(id, "communication.sms.a")))
            .collect();
        // Once the sink knows of a returned message, it accepts no more batches.
        let Ok(confirmed) =
            timeout(Duration::from_millis(500), sink.publish(&communications)).await
        else {
            break;
        };
        confirms.push(confirmed.unwrap());
        mail.extend(mails);
        sms.extend(others);
    }
    problem(&health, "sink", "no queue is bound to exchange `close`").await;
    assert!(confirms.len() > 1, "the second batch was accepted before the first was confirmed");
    wait::end_of("the first batch", confirms.remove(0).wait()).await.unwrap();
    for (confirmed, batch) in confirms.iter_mut().zip(1..) {
        let reported = timeout(Duration::from_millis(1), confirmed.wait()).await;
        assert!(
            !has_mail(batch) || reported.is_err(),
            "batch {batch} was reported as published, but was returned"
        );
    }
    client.queue("close.mail").await;
    client.bind("close.mail", "close", "communication.mail.*").await;
    for mut confirmed in confirms {
        wait::end_of("publishing", confirmed.wait()).await.unwrap();
    }
    ready(&health).await;
    for (queue, expected) in [("close.mail", mail), ("close.sms", sms)] {
        let messages = client.take_many(queue, expected.len()).await;
        let ids = messages
            .iter()
            .map(|message| message.properties.message_id().as_ref().unwrap().as_str());
        assert!(ids.eq(expected), "in {queue}, each once and in order");
        assert_eq!(client.counts(queue).await.0, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alternate_exchange_receives_unroutable_communications() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("safe.unrouted", &[]).await;
    client.queue("safe.unrouted").await;
    client.bind("safe.unrouted", "safe.unrouted", "#").await;
    client
        .exchange("safe", &[("alternate-exchange", AMQPValue::LongString("safe.unrouted".into()))])
        .await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("safe"), &health);
    publish(&mut sink, &[communication("x", "communication.mail.a")]).await.unwrap();
    assert_eq!(client.take_many("safe.unrouted", 1).await[0].routing_key, "communication.mail.a");
    assert!(health.problems().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_waits_for_a_missing_exchange() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("wrong"), &health);
    let checked = tokio::spawn(async move { sink.check_route().await.map(|()| sink) });
    problem(&health, "sink", "exchange `wrong` does not exist").await;
    assert!(!checked.is_finished());
    client.exchange("wrong", &[]).await;
    client.queue("wrong.q").await;
    client.bind("wrong.q", "wrong", "#").await;
    let mut sink = wait::end_of("publishing", checked).await.unwrap().unwrap();
    ready(&health).await;
    publish(&mut sink, &[communication("x", "k")]).await.unwrap();
    assert_eq!(client.counts("wrong.q").await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_communication_that_a_full_queue_rejects_is_retried() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("full", &[]).await;
    let arguments = [
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    client.queue_with("full.q", &arguments).await;
    client.bind("full.q", "full", "#").await;
    client.publish("full", "k", ["occupies"]).await;
    let health = Health::default();
    let published = publishing(
        sink(&broker.address(), &exchange("full"), &health),
        vec![communication("x", "k")],
    );
    problem(&health, "sink", "refuses").await;
    assert!(!published.is_finished());
    client.purge("full.q").await;
    wait::end_of("publishing", published).await.unwrap().unwrap();
    assert_eq!(client.take_many("full.q", 1).await[0].body, br#"{"id":"x"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_leaves_the_sink_usable() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.exchange("given", &[]).await;
    let health = Health::default();
    let mut sink = sink(&broker.address(), &exchange("given"), &health);
    let lost = [communication("lost", "k")];
    tokio::select! {
        _ = publish(&mut sink, &lost) => panic!("no queue receives it"),
        () = problem(&health, "sink", "no queue is bound") => {}
    }
    client.queue("given.q").await;
    client.bind("given.q", "given", "#").await;
    publish(&mut sink, &[communication("kept", "k")]).await.unwrap();
    wait::until("only the second communication", async || client.counts("given.q").await.0 == 1)
        .await;
    assert_eq!(client.take("given.q").await.unwrap().body, br#"{"id":"kept"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_key_that_is_too_long_is_refused() {
    let broker = shared_broker();
    let mut sink = sink(&broker.address(), &exchange("any"), &Health::default());
    let error = publish(&mut sink, &[communication("x", &"k".repeat(256))]).await.unwrap_err();
    assert!(matches!(error, SinkError::Configuration(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_keep_their_body_and_have_the_reason_in_headers() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    let health = Health::default();
    let mut letters = dead_letters(&broker.address(), "letters", &health);
    let checked = tokio::spawn(async move { letters.check_route().await.map(|()| letters) });
    problem(&health, "deadletters", "queue `letters` does not exist").await;
    client.queue("letters").await;
    let mut letters = wait::end_of("publishing", checked).await.unwrap().unwrap();
    let mut long = letter(b"");
    long.message_id = Some("я".repeat(300).into());
    long.reason = "я".repeat(5000);
    letters.dead_letter(&[letter(b"{\"a\":1,}\xff"), long]).await.unwrap();
    let messages = client.take_many("letters", 2).await;
    let message = &messages[0];
    assert_eq!(message.body, b"{\"a\":1,}\xff");
    assert_eq!(message.header("x-hailer-reason").unwrap(), "expected `,` or `}` at offset 7");
    assert_eq!(message.header("x-hailer-routing-key").unwrap(), "customer.card.link");
    assert_eq!(message.header("x-hailer-message-id").unwrap(), "m-1");
    assert_eq!(message.header("x-hailer-position"), None);
    assert_eq!(message.properties.message_id().as_ref().unwrap().as_str(), "m-1");
    assert_eq!(*message.properties.delivery_mode(), Some(2));
    assert_eq!(*messages[1].properties.message_id(), None);
    assert!(messages[1].header("x-hailer-reason").unwrap().len() <= 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_wait_for_a_queue_that_was_deleted() {
    let broker = shared_broker();
    let client = Client::connect(broker).await;
    client.queue("deleted.letters").await;
    let health = Health::default();
    let mut letters = dead_letters(&broker.address(), "deleted.letters", &health);
    letters.check_route().await.unwrap();
    client.delete_queue("deleted.letters").await;
    let sent =
        tokio::spawn(async move { letters.dead_letter(&[letter(b"1"), letter(b"2")]).await });
    problem(&health, "deadletters", "queue `deleted.letters` does not exist").await;
    client.queue("deleted.letters").await;
    wait::end_of("publishing", sent).await.unwrap().unwrap();
    assert_eq!(client.take_many("deleted.letters", 2).await.len(), 2);
}
