//! The serde form of a 16-byte hash in stored rows: a byte string, not an array of sixteen numbers.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

const LEN: usize = 16;

pub(super) fn serialize<S: Serializer>(hash: &[u8; LEN], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(hash)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; LEN], D::Error> {
    deserializer.deserialize_bytes(Hash)
}

struct Hash;

impl<'de> Visitor<'de> for Hash {
    type Value = [u8; LEN];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{LEN} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Self::Value, A::Error> {
        let mut hash = [0; LEN];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = bytes.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(hash)
    }
}
