//! The definitions that host and guest share: the manifest, the catalogue of events and fields, and
//! the constants of the wire format. `docs/abi.md` describes them. This crate has no I/O, no unsafe
//! code, and no logic of the host or of a guest.

pub mod catalogue;
pub mod condition;
pub mod guard;
pub mod manifest;
pub mod value;
#[cfg(feature = "when")]
pub mod when;
pub mod wire;

/// The version of the ABI that this crate defines.
pub const ABI_VERSION: u32 = 1;

/// The name of the custom section with the manifest.
pub const MANIFEST_SECTION: &str = "hailer.manifest";

/// The name of the custom section with the module's own scenarios. The section is optional.
pub const SCENARIOS_SECTION: &str = "hailer.scenarios";

/// The names of a rule module's exports.
pub mod exports {
    pub const MEMORY: &str = "memory";
    pub const INPUT: &str = "hailer_input";
    pub const CONFIGURE: &str = "hailer_configure";
    pub const HANDLE: &str = "hailer_handle";
}

/// The name of the only import that a rule module may have.
pub mod imports {
    pub const MODULE: &str = "hailer";
    pub const LOG: &str = "log";
}
