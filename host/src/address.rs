//! Where events come from and communications go: `amqp://…`, `amqps://…`, `file:PATH`, or `-` for a standard stream.
//! Read in this one place, which is also where secrets become unprintable: no address shows its password, neither in
//! `Display` nor in `Debug`.

mod queue;

pub use queue::QueueAddress;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::config::RabbitMqConfig;

const HEARTBEAT_S: u16 = 10;
const CONNECTION_TIMEOUT_MS: u64 = 5000;
/// A password or a key is never this long; whatever is, is the wrong file.
const SECRET_BYTES_MAX: u64 = 1 << 20;

const UNESCAPED: &str = "one of `@`, `/`, `?` and `#` stands unescaped before its last `@`: write %40, %2F, %3F or %23, or use rabbitmq.password_file";

/// One end of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    RabbitMq(Box<BrokerAddress>),
    File(PathBuf),
    /// Standard input or standard output.
    Standard,
}

/// A broker, and the files that say who we are and whom we trust. The files are read at every connection, so that a
/// rotated password or certificate is taken up without a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    uri: AMQPUri,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    identity_files: Option<(PathBuf, PathBuf)>,
}

/// Why an address can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("`{0}` is not an address: write amqp://HOST, amqps://HOST, file:PATH, or - for a standard stream")]
    Unknown(String),
    #[error("`{address}` is not an address of a broker: {reason}; write amqp://USER@HOST:PORT/VHOST")]
    Broker { address: String, reason: String },
    #[error(
        "`{address}` is not an address of a queue: {reason}; write amqp://USER@HOST:PORT/QUEUE, or …/VHOST/QUEUE in a virtual host"
    )]
    Queue { address: String, reason: String },
    #[error("rabbitmq.{given} is set without rabbitmq.{missing}: a client certificate needs both")]
    HalfAnIdentity { given: &'static str, missing: &'static str },
    #[error("can't read {} (rabbitmq.{setting})", path.display())]
    File { setting: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} (rabbitmq.{setting}) {reason}", path.display())]
    Content { setting: &'static str, path: PathBuf, reason: &'static str },
}

impl Address {
    /// Reads an address, and adds the files that the configuration names to that of a broker.
    ///
    /// # Errors
    /// When the text is no address, or names half a client identity. The files themselves are not read.
    pub fn new(text: &str, files: &RabbitMqConfig) -> Result<Address, AddressError> {
        match text.parse()? {
            Address::RabbitMq(broker) => Ok(Address::RabbitMq(Box::new(broker.with_files(files)?))),
            other => Ok(other),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        if text == "-" {
            return Ok(Address::Standard);
        }
        match text.split_once(':') {
            Some(("amqp" | "amqps", _)) => Ok(Address::RabbitMq(Box::new(text.parse()?))),
            Some(("file", path)) if !path.is_empty() => Ok(Address::File(file_path(path))),
            _ => Err(AddressError::Unknown(redacted(text))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::RabbitMq(broker) => broker.fmt(formatter),
            Address::File(path) => write!(formatter, "file:{}", path.display()),
            Address::Standard => formatter.write_str("-"),
        }
    }
}

impl BrokerAddress {
    /// Adds the files that the configuration names.
    ///
    /// # Errors
    /// When a certificate is named without its key, or the other way round.
    pub fn with_files(mut self, files: &RabbitMqConfig) -> Result<BrokerAddress, AddressError> {
        self.password_file.clone_from(&files.password_file);
        self.ca_file.clone_from(&files.ca_file);
        self.identity_files = match (&files.cert_file, &files.key_file) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(AddressError::HalfAnIdentity { given: "cert_file", missing: "key_file" }),
            (None, Some(_)) => return Err(AddressError::HalfAnIdentity { given: "key_file", missing: "cert_file" }),
        };
        Ok(self)
    }

    /// What a client needs to connect now. Reads the files.
    ///
    /// # Errors
    /// When a file can't be read, or holds nothing that could be meant.
    pub fn resolve(&self) -> Result<(AMQPUri, OwnedTLSConfig), AddressError> {
        let mut uri = self.uri.clone();
        if let Some(path) = &self.password_file {
            uri.authority.userinfo.password = read_password(path)?;
        }
        let mut tls = OwnedTLSConfig::default();
        if uri.scheme == AMQPScheme::AMQPS {
            if let Some(path) = &self.ca_file {
                tls.cert_chain = Some(read_pem("ca_file", path)?);
            }
            if let Some((certificate, key)) = &self.identity_files {
                let pem = read_pem("cert_file", certificate)?.into_bytes();
                let key = read_pem("key_file", key)?.into_bytes();
                tls.identity = Some(OwnedIdentity::PKCS8 { pem, key });
            }
        }
        Ok((uri, tls))
    }

    #[must_use]
    pub fn virtual_host(&self) -> &str {
        &self.uri.vhost
    }

    #[must_use]
    pub fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// How long a connection may take, in milliseconds.
    #[must_use]
    pub fn connection_timeout_ms(&self) -> u64 {
        self.uri.query.connection_timeout.unwrap_or(CONNECTION_TIMEOUT_MS)
    }

    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The interval at which the two ends show that they live; who is silent for two of them is taken for dead.
    #[must_use]
    pub fn heartbeat_ms(&self) -> u64 {
        u64::from(self.uri.query.heartbeat.unwrap_or(HEARTBEAT_S)) * 1000
    }

    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.uri.authority.host, self.uri.authority.port)
    }
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<BrokerAddress, AddressError> {
        let refused = |reason: &str| AddressError::Broker { address: redacted(text), reason: reason.into() };
        let authority = authority_of(text).ok_or_else(|| refused("it has no host"))?;
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // A parser would take a part of the password for the host, which is logged.
        if credentials.contains(['@', '/', '?', '#']) {
            return Err(refused(UNESCAPED));
        }
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        // The parser's own words may quote the address, password and all.
        let mut uri: AMQPUri = text.parse().map_err(|_| refused("its port, path or options can't be read"))?;
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            // The parser drops IPv6 addresses, and would go to localhost.
            uri.authority.host = address.0.to_owned();
        }
        if uri.vhost.is_empty() {
            // `amqp://host/` names the host "" by the letter; nobody has one, and everybody means the default.
            uri.vhost = "/".to_owned();
        }
        // Without a heartbeat a dead peer is never noticed, so it can't be switched off.
        uri.query.heartbeat = Some(uri.query.heartbeat.filter(|seconds| *seconds > 0).unwrap_or(HEARTBEAT_S));
        uri.query.connection_timeout.get_or_insert(CONNECTION_TIMEOUT_MS);
        Ok(BrokerAddress { uri, password_file: None, ca_file: None, identity_files: None })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let host = &authority.host;
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{}@{}{host}{}:{}", self.user(), brackets.0, brackets.1, authority.port)?;
        if vhost == "/" { Ok(()) } else { write!(formatter, "/{vhost}") }
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BrokerAddress({self})")
    }
}

/// The text of an address with its password taken out, whether or not it can be parsed.
#[must_use]
pub fn redacted(text: &str) -> String {
    let Some(authority) = authority_of(text).or_else(|| misspelt_authority_of(text)) else { return text.to_owned() };
    let Some((credentials, _)) = authority.rsplit_once('@') else { return text.to_owned() };
    let Some((user, password)) = credentials.split_once(':') else { return text.to_owned() };
    if password.is_empty() {
        return text.to_owned();
    }
    text.replacen(credentials, &format!("{user}:***"), 1)
}

/// What stands between `//` and the path. A password may hold a `/` or `?` that nobody escaped, so the last `@` counts.
fn authority_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let credentials_bytes = rest.rfind('@').map_or(0, |at| at + 1);
    let host_bytes = rest[credentials_bytes..].find(['/', '?', '#']).unwrap_or(rest.len() - credentials_bytes);
    Some(&rest[..credentials_bytes + host_bytes])
}

/// What may be an authority in an address that lacks its `://`: somebody's password may stand in it all the same.
fn misspelt_authority_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("amqps").or_else(|| text.strip_prefix("amqp")).unwrap_or(text);
    (!text.starts_with("file:")).then(|| rest.trim_start_matches([':', '/']))
}

/// `file:events.jsonl`, `file:/var/events.jsonl` and `file:///var/events.jsonl` are all understood.
fn file_path(path: &str) -> PathBuf {
    match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => PathBuf::from(rest),
        _ => PathBuf::from(path),
    }
}

fn read_password(path: &Path) -> Result<String, AddressError> {
    let text = read_bounded("password_file", path)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let reason = "is empty: write the password into it";
        return Err(AddressError::Content { setting: "password_file", path: path.into(), reason });
    }
    Ok(password.to_owned())
}

fn read_pem(setting: &'static str, path: &Path) -> Result<String, AddressError> {
    let text = read_bounded(setting, path)?;
    if !text.contains("-----BEGIN ") {
        let reason = "holds no PEM block: convert it with `openssl`";
        return Err(AddressError::Content { setting, path: path.into(), reason });
    }
    Ok(text)
}

fn read_bounded(setting: &'static str, path: &Path) -> Result<String, AddressError> {
    let unreadable = |source| AddressError::File { setting, path: path.into(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    // A part of a bundle of certificates would be taken for the whole.
    if text.len() as u64 > SECRET_BYTES_MAX {
        let reason = "has more than 1 MiB: name a file with the password or the PEM blocks alone";
        return Err(AddressError::Content { setting, path: path.into(), reason });
    }
    // Editors on Windows write a byte order mark before a text; it is not part of the text.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(text: &str) -> BrokerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_address_is_told_apart() {
        assert!(matches!("amqp://localhost".parse(), Ok(Address::RabbitMq(_))));
        assert!(matches!("amqps://localhost".parse(), Ok(Address::RabbitMq(_))));
        assert_eq!("-".parse::<Address>().unwrap(), Address::Standard);
        assert_eq!("file:a.jsonl".parse::<Address>().unwrap(), Address::File("a.jsonl".into()));
        assert_eq!("file:///var/a.jsonl".parse::<Address>().unwrap(), Address::File("/var/a.jsonl".into()));
        for wrong in ["", "file:", "http://x", "a.jsonl", "amqp:", "amqp://", "amqp://u:p@", "amqp://h:port"] {
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
    fn an_unescaped_separator_in_a_password_is_refused_and_no_part_of_the_password_is_shown() {
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
    fn a_heartbeat_can_be_set_but_not_switched_off() {
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
    fn the_password_file_wins_and_is_read_each_time() {
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
    fn half_a_client_identity_is_refused() {
        let files = RabbitMqConfig { cert_file: Some("c.pem".into()), ..RabbitMqConfig::default() };
        assert!(Address::new("amqps://h", &files).unwrap_err().to_string().contains("key_file"));
    }
}
