//! Tests of the lines sinks with real files.

use bytes::Bytes;

use super::*;

fn communication(body: &'static str) -> Communication {
    Communication {
        id: "id".into(),
        routing_key: "k".into(),
        body: Bytes::from_static(body.as_bytes()),
        created_ms: 0,
    }
}

fn letter(body: &'static [u8]) -> DeadLetter {
    DeadLetter {
        origin: None,
        body: Bytes::from_static(body),
        reason: "no event code".to_owned(),
        message_id: Some("m".into()),
        routing_key: None,
        position: Some("e.jsonl:3".into()),
        received_ms: 5,
    }
}

#[tokio::test]
async fn communications_are_appended_to_an_existing_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.jsonl");
    LinesSink::file(&path)
        .await
        .unwrap()
        .publish(&[communication("{1}"), communication("{2}")])
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    LinesSink::file(&path)
        .await
        .unwrap()
        .publish(&[communication("{3}")])
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n{2}\n{3}\n");
}

#[tokio::test]
async fn an_incomplete_line_of_a_crash_is_ended_before_an_append() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.jsonl");
    std::fs::write(&path, "{1}\n{2").unwrap();
    LinesSink::file(&path)
        .await
        .unwrap()
        .publish(&[communication("{3}")])
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n{2\n{3}\n");
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_names_the_file() {
    let error = match LinesSink::file(Path::new("/dev/full")).await {
        Ok(mut sink) => sink.publish(&[communication("{}")]).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("/dev/full"), "{error}");
}

#[tokio::test]
async fn the_dead_letter_file_is_created_with_the_first_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let mut letters = LinesDeadLetterSink::beside(&directory.path().join("e.jsonl"));
    assert!(letters.path().ends_with("e.jsonl.deadletters.jsonl") && !letters.path().exists());
    letters.dead_letter(&[letter(b"{\"a\":\n1,}"), letter(b"\xff\x00")]).await.unwrap();
    let text = std::fs::read_to_string(letters.path()).unwrap();
    let head = concat!(
        r#"{"messageId":"m","headers":{"x-hailer-reason":"no event code","#,
        r#""x-hailer-position":"e.jsonl:3","x-hailer-received-ms":5},"#
    );
    let bodies = [r#""body":"{\"a\":\n1,}"}"#, r#""bodyHex":"ff00"}"#];
    assert_eq!(text, bodies.map(|body| format!("{head}{body}\n")).concat());
}
