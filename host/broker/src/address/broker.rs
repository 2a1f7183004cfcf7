//! The address of a broker, and the connection settings made from it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};

use super::redacted::authority_of;
use super::secrets::{read_password, read_pem};
use super::{AddressError, redacted};
use crate::RabbitMqConfig;

pub(super) const HEARTBEAT_S: u16 = 10;
pub(super) const CONNECTION_TIMEOUT_MS: u64 = 5000;

const UNESCAPED: &str = "its user or password has an unescaped `@`, `/`, `?` or `#`: write %40, \
    %2F, %3F or %23, or use rabbitmq.password_file";

/// A broker's address, and the files with the password, the certificate authority and the client
/// certificate. The files are read at every connection attempt, so a rotated password or
/// certificate takes effect without a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    pub(super) uri: AMQPUri,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    identity_files: Option<(PathBuf, PathBuf)>,
}

impl BrokerAddress {
    /// Adds the password and certificate files that the configuration names.
    ///
    /// # Errors
    /// The configuration names a certificate without a key, or a key without a certificate.
    pub fn with_files(mut self, files: &RabbitMqConfig) -> Result<BrokerAddress, AddressError> {
        self.password_file.clone_from(&files.password_file);
        self.ca_file.clone_from(&files.ca_file);
        self.identity_files = match (&files.cert_file, &files.key_file) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => {
                return Err(AddressError::IncompleteIdentity {
                    given: "cert_file",
                    missing: "key_file",
                });
            }
            (None, Some(_)) => {
                return Err(AddressError::IncompleteIdentity {
                    given: "key_file",
                    missing: "cert_file",
                });
            }
        };
        Ok(self)
    }

    /// The URI and TLS settings for one connection attempt. Reads the files.
    ///
    /// # Errors
    /// A file is unreadable, too large, or has no password or PEM block.
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

    /// The connection timeout, in milliseconds.
    #[must_use]
    pub fn connection_timeout_ms(&self) -> u64 {
        self.uri.query.connection_timeout.unwrap_or(CONNECTION_TIMEOUT_MS)
    }

    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The heartbeat interval, in milliseconds. A peer that sends nothing for two intervals counts
    /// as dead.
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
        let refused =
            |reason: &str| AddressError::Broker { address: redacted(text), reason: reason.into() };
        let authority = authority_of(text).ok_or_else(|| refused("it has no host"))?;
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // The parser would read a part of the password as the host, and hosts are logged.
        if credentials.contains(['@', '/', '?', '#']) {
            return Err(refused(UNESCAPED));
        }
        if host.is_empty() {
            return Err(refused("it has no host"));
        }
        // The parser's error may quote the address with its password, so it is dropped.
        let mut uri: AMQPUri =
            text.parse().map_err(|_| refused("its port, path or options are invalid"))?;
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            // The parser drops an IPv6 host, and the client would then connect to localhost.
            uri.authority.host = address.0.to_owned();
        }
        if uri.vhost.is_empty() {
            // Read literally, `amqp://host/` names a virtual host with an empty name. Users mean
            // the default virtual host.
            uri.vhost = "/".to_owned();
        }
        // Without heartbeats a dead peer is never detected, so they cannot be turned off.
        uri.query.heartbeat =
            Some(uri.query.heartbeat.filter(|seconds| *seconds > 0).unwrap_or(HEARTBEAT_S));
        uri.query.connection_timeout.get_or_insert(CONNECTION_TIMEOUT_MS);
        Ok(BrokerAddress { uri, password_file: None, ca_file: None, identity_files: None })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let host = &authority.host;
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(
            formatter,
            "{scheme}://{}@{}{host}{}:{}",
            self.user(),
            brackets.0,
            brackets.1,
            authority.port
        )?;
        if vhost == "/" { Ok(()) } else { write!(formatter, "/{vhost}") }
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BrokerAddress({self})")
    }
}
