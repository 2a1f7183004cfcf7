//! The sinks over real files.

use bytes::Bytes;

use super::*;

fn communication(body: &'static str) -> Communication {
    Communication { id: "id".into(), routing_key: "k".into(), body: Bytes::from_static(body.as_bytes()), created_ms: 0 }
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
async fn communications_are_added_to_what_is_there() {
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
    LinesSink::file(&path).await.unwrap().publish(&[communication("{3}")]).await.unwrap().wait().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n{2}\n{3}\n");
}

#[tokio::test]
async fn a_half_line_left_by_a_crash_stands_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.jsonl");
    std::fs::write(&path, "{1}\n{2").unwrap();
    LinesSink::file(&path).await.unwrap().publish(&[communication("{3}")]).await.unwrap().wait().await.unwrap();
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
async fn dead_letters_make_their_file_only_when_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut letters = LinesDeadLetters::beside(&directory.path().join("e.jsonl"));
    assert!(letters.path().ends_with("e.jsonl.deadletters.jsonl") && !letters.path().exists());
    letters.bury(&[letter(b"{\"a\":\n1,}"), letter(b"\xff\x00")]).await.unwrap();
    let text = std::fs::read_to_string(letters.path()).unwrap();
    let expected = concat!(
        r#"{"messageId":"m","headers":{"x-hailer-reason":"no event code","x-hailer-position":"e.jsonl:3","x-hailer-received-ms":5},"body":"{\"a\":\n1,}"}"#,
        "\n",
        r#"{"messageId":"m","headers":{"x-hailer-reason":"no event code","x-hailer-position":"e.jsonl:3","x-hailer-received-ms":5},"bodyHex":"ff00"}"#,
        "\n"
    );
    assert_eq!(text, expected);
}
