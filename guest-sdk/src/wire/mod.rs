//! MessagePack as the ABI uses it (`docs/abi.md`), and no more: small enough that a rule module stays a few kilobytes.
//!
//! A guest trusts its host to keep to the ABI, so bytes that do not are a fault of the whole crossing: the reader panics,
//! which the host sees as a trap. Nothing is guessed and nothing is read out of bounds.

mod reader;
mod values;
mod writer;

pub use reader::{Reader, malformed};
#[cfg(not(target_arch = "wasm32"))]
pub use values::ToParam;
pub use values::{FromParam, FromWire};
pub use writer::Writer;

/// MessagePack extension type of a decimal.
pub(crate) const EXT_DECIMAL: u8 = 1;
/// MessagePack extension type of a timestamp.
pub(crate) const EXT_TIMESTAMP: u8 = 2;
