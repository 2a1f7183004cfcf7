//! Reads the broker's version from its greeting. The client library reads the greeting, too, but
//! does not expose it.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::AMQPUriTcpExt;

use super::{BrokerError, Dialer};

const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
/// The longest greeting that is read; a usual one has some hundred bytes.
const GREETING_BYTES_MAX: usize = 64 << 10;
/// The table entry `version`: the length of its name, the name, and `S`, the type of a long string.
const VERSION_ENTRY: &[u8] = b"\x07versionS";

impl Dialer {
    /// The major version of the broker; `None` if its greeting does not contain one.
    ///
    /// # Errors
    /// The broker is unreachable, or sends no greeting in time.
    pub async fn major_version(&self) -> Result<Option<u32>, BrokerError> {
        let timeout_ms = self.address.connection_timeout_ms();
        let (uri, tls) = self.address.resolve()?;
        let runtime = lapin::runtime::default_runtime()?;
        let greeting = async {
            let mut stream =
                AMQPUriTcpExt::connect_with_config_async(&uri, tls.as_ref(), &runtime).await?;
            stream.write_all(PROTOCOL_HEADER).await?;
            stream.flush().await?;
            // A frame starts with its type (1 byte), its channel (2 bytes) and its size (4 bytes).
            let mut head = [0; 7];
            stream.read_exact(&mut head).await?;
            let [_, _, _, size @ ..] = head;
            let bytes = usize::try_from(u32::from_be_bytes(size))
                .unwrap_or(usize::MAX)
                .min(GREETING_BYTES_MAX);
            let mut payload = vec![0; bytes];
            stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>(payload)
        };
        let greeting = tokio::time::timeout(Duration::from_millis(timeout_ms), greeting).await;
        let greeting = greeting
            .map_err(|_| BrokerError::NoAnswer { timeout_ms })?
            .map_err(lapin::Error::from)?;
        Ok(major_of(&greeting))
    }
}

/// The major version in the properties table of a greeting; `None` if there is none.
fn major_of(greeting: &[u8]) -> Option<u32> {
    let at = greeting.windows(VERSION_ENTRY.len()).position(|window| window == VERSION_ENTRY)?;
    let (length, rest) = greeting[at + VERSION_ENTRY.len()..].split_first_chunk::<4>()?;
    let version = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(version).ok()?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_valid_greetings_only() {
        let greeting = |text: &[u8]| {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            [b"\0\x0a\0\x0a\0\x09", VERSION_ENTRY, &length, text, b"\x08platform"].concat()
        };
        assert_eq!(major_of(&greeting(b"3.10.8")), Some(3));
        assert_eq!(major_of(&greeting(b"4.1.0-rc.1")), Some(4));
        assert_eq!(major_of(&greeting(b"")), None);
        assert_eq!(major_of(&greeting(b"\xff\xff")), None);
        assert_eq!(major_of(b"\x07versionS\xff\xff\xff\xff3"), None);
        assert_eq!(major_of(b""), None);
    }
}
