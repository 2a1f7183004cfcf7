//! Finds duplicates: two live campaigns that do the same. The usual cause is a back-up copy in the
//! rules directory, which makes each customer receive every communication twice.
//!
//! **A duplicate is a warning and never refused**: two campaigns with one module may be intended.

use std::collections::BTreeMap;

use super::owner::Owner;
use super::{Problem, Stage};
use crate::engine::{CampaignSpec, Mode};

const HINT: &str =
    "if it is a back-up copy, move it out of the rules directory; `mode = \"off\"` also stops it";
/// Last words of names of copies.
const COPY_WORDS: [&str; 9] =
    ["backup", "bak", "copy", "old", "orig", "original", "prev", "previous", "save"];
/// Minimum of digits of a date at the end of a name: `-2026-11`.
const DATE_DIGITS_MIN: usize = 6;

impl<S: Stage> Owner<S> {
    /// One warning for each live campaign that seems to be a copy of another one.
    pub(super) fn duplicates(&self) -> Vec<Problem> {
        let running = self.campaigns.iter().filter(|(name, entry)| {
            let is_suspended =
                entry.accepted.as_ref().is_some_and(|accepted| accepted.suspended.is_some());
            !is_suspended && !self.is_paused(name)
        });
        let running = running
            .filter_map(|(_, entry)| Some((entry.file.as_deref()?, &entry.running.as_ref()?.spec)));
        duplicates_of(running)
    }
}

fn duplicates_of<'a>(running: impl Iterator<Item = (&'a str, &'a CampaignSpec)>) -> Vec<Problem> {
    let live: BTreeMap<&str, (&str, &CampaignSpec)> = running
        .filter(|(_, spec)| spec.mode == Mode::Live && spec.trial.is_none())
        .map(|(file, spec)| (&*spec.name, (file, spec)))
        .collect();
    let mut first_of: BTreeMap<(&str, &[u8]), &CampaignSpec> = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, (file, spec)) in &live {
        let first = *first_of.entry((&*spec.digest, &*spec.params)).or_insert(spec);
        if first.name != spec.name && overlap(first, spec) {
            let reason = format!(
                "it is a second live campaign with the module and the parameters of `{}`: \
                 customers receive each communication twice",
                first.name
            );
            warnings.push(Problem::new(*file, None, reason, HINT));
            continue;
        }
        let original = original_of(name)
            .and_then(|original| live.get(original))
            .map(|(_, original)| *original);
        if let Some(original) =
            original.filter(|original| original.digest == spec.digest && overlap(original, spec))
        {
            let reason = format!(
                "its name says that it is a copy of `{}`, and both are live with one module: \
                 customers may receive each communication twice",
                original.name
            );
            warnings.push(Problem::new(*file, None, reason, HINT));
        }
    }
    warnings
}

/// Whether the active times of both overlap.
fn overlap(one: &CampaignSpec, other: &CampaignSpec) -> bool {
    let begins_before =
        |one: &CampaignSpec, other: &CampaignSpec| match (one.start_ms, other.end_ms) {
            (Some(start), Some(end)) => start < end,
            _ => true,
        };
    begins_before(one, other) && begins_before(other, one)
}

/// The name of the original: `welcome` for `welcome-2026-11-29` and `welcome_old`; `None` if the
/// name is not that of a copy.
fn original_of(name: &str) -> Option<&str> {
    let (mut rest, mut digits) = (name, 0);
    while let Some((before, last)) = rest.rsplit_once(['-', '_']) {
        if COPY_WORDS.contains(&last) {
            return Some(before);
        }
        if last.is_empty() || !last.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        digits += last.len();
        rest = before;
    }
    (digits >= DATE_DIGITS_MIN).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_copy_ends_in_a_date_or_in_a_word_for_copies() {
        for copy in [
            "cc-2026-11-29",
            "cc_20261129",
            "cc-2026-11-29-1530",
            "cc-old",
            "cc_bak",
            "cc-backup",
            "cc-copy",
        ] {
            assert_eq!(original_of(copy), Some("cc"), "{copy}");
        }
        for own in ["cc", "win-back", "win-back-2", "spring-2027", "old", "cc-olden", "cc-"] {
            assert_eq!(original_of(own), None, "{own}");
        }
        assert_eq!(original_of("cc-copy-2026-11-29"), Some("cc"));
    }
}
