//! The part of MessagePack that the ABI uses (`docs/abi.md`), and no more, so that a rule module
//! stays at a few kilobytes.
//!
//! A guest trusts its host to follow the ABI. Input that does not follow it fails the whole
//! crossing: the reader panics, which the host sees as a trap. The reader never guesses and never
//! reads out of bounds.

mod reader;
mod values;
mod writer;

pub use reader::{Reader, malformed};
#[cfg(not(target_arch = "wasm32"))]
pub use values::ToParam;
pub use values::{FromParam, FromWire};
pub use writer::Writer;

/// The MessagePack extension type of a decimal.
pub(crate) const EXT_DECIMAL: u8 = 1;
/// The MessagePack extension type of a timestamp.
pub(crate) const EXT_TIMESTAMP: u8 = 2;
