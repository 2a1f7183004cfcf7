//! Tests of addresses, their secrets and what they show.

use super::broker::{CONNECTION_TIMEOUT_MS, HEARTBEAT_S};
use super::secrets::SECRET_BYTES_MAX;
use super::*;

fn broker(text: &str) -> BrokerAddress {
    text.parse().unwrap()
}

#[test]
fn every_kind_of_address_is_recognized() {
    assert!(matches!("amqp://localhost".parse(), Ok(Address::RabbitMq(_))));
    assert!(matches!("amqps://localhost".parse(), Ok(Address::RabbitMq(_))));
    assert_eq!("-".parse::<Address>().unwrap(), Address::Standard);
    assert_eq!("file:a.jsonl".parse::<Address>().unwrap(), Address::File("a.jsonl".into()));
    assert_eq!(
        "file:///var/a.jsonl".parse::<Address>().unwrap(),
        Address::File("/var/a.jsonl".into())
    );
    for wrong in
        ["", "file:", "http://x", "a.jsonl", "amqp:", "amqp://", "amqp://u:p@", "amqp://h:port"]
    {
        assert!(wrong.parse::<Address>().is_err(), "{wrong}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for text in [
        "amqp://me:s3cret@host/x",
        "amqp://me:s3c/ret@host",
        "amqp://me:s3@c/ret@host",
        "amqps://me:s3cret@h:x",
        "amq://me:s3cret@h",
        "amqp:/me:s3cret@h",
        "amqps//me:s3cret@h",
        "me:s3cret@h",
    ] {
        let shown = match text.parse::<Address>() {
            Ok(address) => format!("{address} {address:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("ret"), "{shown}");
        assert!(!redacted(text).contains("ret"), "{text}");
    }
    assert_eq!(redacted("file:a@b:c"), "file:a@b:c");
}

#[test]
fn an_unescaped_separator_in_a_password_is_refused_without_showing_it() {
    for text in [
        "amqp://me:s3c@ret@host:5672",
        "amqps://me:@s3cret@host/v",
        "amqp://me:12/s3cret@host",
        "amqp://me:12@34/s3cret@host",
        "amqp://me:12?s3cret@host",
        "amqp://me:12#s3cret@host",
    ] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains("%40") && error.contains("password_file"), "{error}");
        assert!(!error.contains("ret@") && !error.contains("s3cret"), "{error}");
    }
    let escaped = broker("amqp://me:s3c%40ret@host");
    assert_eq!(escaped.to_string(), "amqp://me@host:5672");
    assert_eq!(escaped.uri.authority.userinfo.password, "s3c@ret");
}

#[test]
fn the_heartbeat_can_be_set_but_not_turned_off() {
    assert_eq!(broker("amqp://h?heartbeat=3").uri.query.heartbeat, Some(3));
    assert_eq!(broker("amqp://h?heartbeat=0").uri.query.heartbeat, Some(HEARTBEAT_S));
    assert_eq!(broker("amqp://h").uri.query.connection_timeout, Some(CONNECTION_TIMEOUT_MS));
}

#[test]
fn an_ipv6_host_is_kept() {
    let address = broker("amqp://guest:guest@[::1]:5673/v");
    assert_eq!(address.host_and_port(), ("::1", 5673));
    assert_eq!(address.to_string(), "amqp://guest@[::1]:5673/v");
}

#[test]
fn an_empty_virtual_host_is_the_default_one() {
    assert_eq!(broker("amqp://h/").virtual_host(), "/");
    assert_eq!(broker("amqp://h/%2f").virtual_host(), "/");
    assert_eq!(broker("amqp://h/shop").virtual_host(), "shop");
}

#[test]
fn the_password_file_replaces_the_password_and_is_read_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let files = RabbitMqConfig { password_file: Some(path.clone()), ..RabbitMqConfig::default() };
    let address = broker("amqp://me:old@h").with_files(&files).unwrap();
    assert!(matches!(address.resolve(), Err(AddressError::File { .. })));
    for password in ["first", "second"] {
        std::fs::write(&path, format!("{password}\n")).unwrap();
        assert_eq!(address.resolve().unwrap().0.authority.userinfo.password, password);
    }
    for unusable in ["\n".to_owned(), "p".repeat(SECRET_BYTES_MAX as usize + 1)] {
        std::fs::write(&path, unusable).unwrap();
        assert!(matches!(address.resolve(), Err(AddressError::Content { .. })));
    }
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let files = RabbitMqConfig { cert_file: Some("c.pem".into()), ..RabbitMqConfig::default() };
    assert!(Address::new("amqps://h", &files).unwrap_err().to_string().contains("key_file"));
}
