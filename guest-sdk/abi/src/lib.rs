//! What host and guest must agree on, and nothing else: the manifest, the catalogue of events and fields, and the
//! numbers of the wire format. `docs/abi.md` is the text of it. No I/O, no unsafe code, no host or guest logic.

pub mod catalogue;
pub mod condition;
pub mod guard;
pub mod manifest;
pub mod value;
#[cfg(feature = "when")]
pub mod when;
pub mod wire;

/// The ABI that this crate describes.
pub const ABI_VERSION: u32 = 1;

/// The custom section that holds the manifest.
pub const MANIFEST_SECTION: &str = "hailer.manifest";

/// The custom section that holds the module's own scenarios, if it brings any.
pub const SCENARIOS_SECTION: &str = "hailer.scenarios";

/// Names of what a rule module exports.
pub mod exports {
    pub const MEMORY: &str = "memory";
    pub const INPUT: &str = "hailer_input";
    pub const CONFIGURE: &str = "hailer_configure";
    pub const HANDLE: &str = "hailer_handle";
}

/// The one import that a rule module may have.
pub mod imports {
    pub const MODULE: &str = "hailer";
    pub const LOG: &str = "log";
}
