//! Files of consents: reads what another system says about customers, and writes what the store
//! knows, as lines of JSON.
//!
//! **A file is checked as a whole before anything of it is applied.** A mistake is reported with
//! its line, and never with an id of a customer. Only keys, which are hashes, leave this module.

mod file;
mod line;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Serialize};

use crate::consents::ImportRequest;
use crate::policies::Policies;

pub use file::{ConsentFile, FileError, LineMistake, MISTAKES_SHOWN, SaidValue};
pub use write::append_line;

/// How policies read the values of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The values that mean yes; any other value means no. `None` if the policies do not judge
    /// consent: then a file says `true` or `false`.
    pub yes: Option<Vec<Box<str>>>,
    /// Whether events tell time zones, so that a file only adds those that are not known.
    pub zones_from_events: bool,
}

/// A part of a file, for a running engine. The engine refuses it if its policies no longer have
/// these terms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportPart {
    pub terms: Terms,
    pub request: ImportRequest,
}

impl Terms {
    /// The terms of policies; without policies, those of none.
    #[must_use]
    pub fn of(policies: Option<&Policies>) -> Terms {
        let consent = policies.and_then(|policies| policies.consent.as_ref());
        Terms {
            yes: consent.map(|consent| consent.yes.clone()),
            zones_from_events: policies.is_some_and(|policies| policies.zone_attribute.is_some()),
        }
    }
}
