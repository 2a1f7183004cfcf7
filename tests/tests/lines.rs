//! Lines from a file to a file, through the public types that the daemon uses.

use hailer::communication::DeadLetter;
use hailer::config::Config;
use hailer::delivery::Delivery;
use hailer::health::Health;
use hailer::shutdown::Shutdown;
use hailer::sinks::{AnyDeadLetterSink, DeadLetterSink};
use hailer::sources::Source;

use crate::support::{Pipeline, body};

async fn read(config: &Config) -> Vec<Delivery> {
    let (pipeline, health) = (Pipeline::default(), Health::default());
    let (trigger, shutdown) = Shutdown::new();
    let source =
        Source::new(&config.source, &config.rabbitmq, config.event.bytes_max, "run", health)
            .unwrap();
    let run = tokio::spawn(source.run(pipeline.clone(), shutdown));
    let lines = std::fs::read_to_string(config.source.trim_start_matches("file:")).unwrap();
    let held =
        pipeline.take_many(lines.lines().filter(|line| !line.trim().is_empty()).count()).await;
    trigger.drain();
    trigger.end();
    run.await.unwrap().unwrap();
    held
}

#[tokio::test]
async fn a_written_dead_letter_can_be_read_again_as_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let events = directory.path().join("events.jsonl");
    std::fs::write(
        &events,
        "{\"eventCode\":\"A\"}\n\n{\"messageId\":\"m\",\
         \"body\":\"{broken,}\"}\n{\"bodyHex\":\"ff\"}",
    )
    .unwrap();
    let config = Config { source: format!("file:{}", events.display()), ..Config::default() };
    let held = read(&config).await;
    assert_eq!(held[0].position.as_deref(), Some(&*format!("{}:1", events.display())));
    assert_eq!((held[1].message_id.as_deref(), &*body(&held[1])), (Some("m"), "{broken,}"));
    assert!(held[1].position.as_ref().unwrap().ends_with(":3"));

    let letters: Vec<_> = held.into_iter().map(dead_letter).collect();
    let mut sink = AnyDeadLetterSink::new(
        &config.source,
        &config.rabbitmq,
        "unused".as_ref(),
        Health::default(),
    )
    .unwrap();
    sink.dead_letter(&letters).await.unwrap();
    let file = format!("{}.deadletters.jsonl", config.source);
    let again = read(&Config { source: file, ..Config::default() }).await;
    assert_eq!(again.len(), 3);
    for (letter, delivery) in letters.iter().zip(&again) {
        assert_eq!((&letter.body, &letter.message_id), (&delivery.body, &delivery.message_id));
        assert_eq!(delivery.defect, None);
    }
}

fn dead_letter(delivery: Delivery) -> DeadLetter {
    DeadLetter {
        origin: None,
        body: delivery.body,
        reason: "broken".to_owned(),
        message_id: delivery.message_id,
        routing_key: delivery.routing_key,
        position: delivery.position,
        received_ms: 0,
    }
}
