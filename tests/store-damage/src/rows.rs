//! The rows that are written. A seed and the number of a commit determine every byte, so the
//! expected content after any commit can be computed.

use std::collections::BTreeMap;

/// A table and a key.
pub(crate) type Place = (u8, Vec<u8>);
/// The rows of a store.
pub(crate) type Rows = BTreeMap<Place, Vec<u8>>;

pub(crate) const META: u8 = 0;
const CUSTOMERS: u8 = 1;
const TIMERS: u8 = 2;
const SEEN: u8 = 3;
const OUTBOX: u8 = 4;
const JOURNAL: u8 = 5;
const TRAIL: u8 = 6;
const FAILURES: u8 = 7;
const BODIES: u8 = 8;
const REDIRECTS: u8 = 9;

/// The tables, in the order of their numbers.
pub(crate) const TABLES: [&str; 10] = [
    "meta",
    "customers",
    "timers",
    "seen",
    "outbox",
    "journal",
    "trail",
    "failures",
    "bodies",
    "redirects",
];

/// The key of the row with the number of the last commit. Each commit overwrites it.
pub(crate) const PROGRESS: &[u8] = b"progress";
/// The key of a row that is overwritten with many bytes, which makes the log long while the tables
/// stay small.
const FILLER: &[u8] = b"filler";

/// The number of commits until a row of the journal, the trail and the deduplication table is
/// deleted.
const KEPT_COMMITS: u64 = 150;
const CUSTOMER_COUNT: u64 = 2_000;

/// The changes of one commit; `None` deletes the row.
pub(crate) type Changes = BTreeMap<Place, Option<Vec<u8>>>;

/// The rows of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) seed: u64,
    /// The size of the filler row in bytes; 0 for none.
    pub(crate) filler_bytes: usize,
}

/// A mixing function (splitmix64): neighbouring numbers give unrelated results.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Workload {
    /// Returns the changes of a commit. Numbers begin with 1.
    pub(crate) fn commit(&self, number: u64) -> Changes {
        let mut changes = self.rows(number);
        if self.filler_bytes > 0 {
            changes.insert((BODIES, FILLER.to_vec()), Some(self.filler(number)));
        }
        changes
    }

    /// Returns the content after a commit.
    pub(crate) fn content(&self, number: u64) -> Rows {
        let mut content = Rows::new();
        for number in 1..=number {
            for (place, value) in self.rows(number) {
                match value {
                    Some(value) => drop(content.insert(place, value)),
                    None => drop(content.remove(&place)),
                }
            }
        }
        if self.filler_bytes > 0 && number > 0 {
            content.insert((BODIES, FILLER.to_vec()), self.filler(number));
        }
        content
    }

    fn rows(&self, number: u64) -> Changes {
        let mut changes = Changes::new();
        for event in 0..self.events(number) {
            let unique = self.unique(number, event);
            let customer = mix(unique) % CUSTOMER_COUNT;
            let key = self.customer(customer);
            changes.insert(
                (CUSTOMERS, key.clone()),
                Some(text(unique, 200 + (unique % 200) as usize)),
            );
            changes.insert((TRAIL, [&key[..], &number.to_be_bytes()].concat()), Some(Vec::new()));
            changes.insert((SEEN, seen_key(unique)), Some(text(unique ^ 1, 16)));
            changes.insert((JOURNAL, place_key(number, event)), Some(text(unique ^ 2, 500)));
            changes.insert((OUTBOX, place_key(number, event)), Some(text(unique ^ 3, 400)));
            if unique.is_multiple_of(3) {
                changes.insert((TIMERS, place_key(number, event)), Some(text(unique ^ 4, 60)));
            }
        }
        if number.is_multiple_of(5) {
            changes.insert((BODIES, place_key(number, 0)), Some(text(number, 3_000)));
        }
        if number.is_multiple_of(17) {
            changes.insert((FAILURES, place_key(number, 0)), Some(text(number ^ 5, 900)));
        }
        if number.is_multiple_of(61) {
            changes.insert((REDIRECTS, place_key(number, 0)), Some(text(number ^ 6, 40)));
        }
        for older in number.saturating_sub(24).max(1)..number {
            if older + self.outbox_commits(older) == number {
                for event in 0..self.events(older) {
                    changes.insert((OUTBOX, place_key(older, event)), None);
                }
            }
        }
        if let Some(old) = number.checked_sub(KEPT_COMMITS).filter(|old| *old > 0) {
            for event in 0..self.events(old) {
                let unique = self.unique(old, event);
                changes.insert((SEEN, seen_key(unique)), None);
                changes.insert((JOURNAL, place_key(old, event)), None);
                changes.insert((TIMERS, place_key(old, event)), None);
                let key = self.customer(mix(unique) % CUSTOMER_COUNT);
                changes.insert((TRAIL, [&key[..], &old.to_be_bytes()].concat()), None);
            }
            changes.insert((FAILURES, place_key(old, 0)), None);
            changes.insert((BODIES, place_key(old, 0)), None);
        }
        changes.insert(
            (META, PROGRESS.to_vec()),
            Some([&number.to_be_bytes()[..], &text(number ^ 7, 180)].concat()),
        );
        changes
    }

    fn events(&self, number: u64) -> u64 {
        10 + mix(self.seed ^ number) % 40
    }

    /// Commits until the outbox rows of a commit are deleted.
    fn outbox_commits(&self, number: u64) -> u64 {
        3 + mix(self.seed ^ number ^ 0x0b0b) % 20
    }

    fn unique(&self, number: u64, event: u64) -> u64 {
        mix(self.seed ^ (number << 20) ^ event)
    }

    fn customer(&self, number: u64) -> Vec<u8> {
        let hash = mix(self.seed ^ 0xc0c0 ^ number);
        [&[(hash % 64) as u8][..], &hash.to_be_bytes(), &mix(hash).to_be_bytes()].concat()
    }

    fn filler(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.filler_bytes + 8);
        let mut state = mix(self.seed ^ number) | 1;
        while bytes.len() < self.filler_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes
    }
}

/// The number of the commit in a progress row; `None` if the row is too short.
pub(crate) fn progress_number(row: &[u8]) -> Option<u64> {
    row.first_chunk().map(|number| u64::from_be_bytes(*number))
}

fn seen_key(unique: u64) -> Vec<u8> {
    [&[(unique % 64) as u8][..], &unique.to_be_bytes(), &mix(unique).to_be_bytes()].concat()
}

fn place_key(number: u64, event: u64) -> Vec<u8> {
    [&[(event % 64) as u8][..], &number.to_be_bytes(), &(event as u16).to_be_bytes()].concat()
}

/// Bytes that compress to about half.
fn text(seed: u64, bytes: usize) -> Vec<u8> {
    const WORDS: &str = concat!(
        r#"{"campaign":"big-basket","decided":{"communications":[{"template":"thank-you"}],"#,
        r#""notes":["amount"]}}"#
    );
    let mut out = Vec::with_capacity(bytes + 64);
    let mut state = mix(seed);
    while out.len() < bytes {
        let at = (state % 60) as usize;
        out.extend_from_slice(&WORDS.as_bytes()[at..at + 24]);
        state = mix(state);
        out.extend_from_slice(&state.to_le_bytes());
        state = mix(state);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_equals_the_result_of_all_commits() {
        let workload = Workload { seed: 9, filler_bytes: 64 };
        let mut content = Rows::new();
        for number in 1..=200 {
            for (place, value) in workload.commit(number) {
                match value {
                    Some(value) => content.insert(place, value),
                    None => content.remove(&place),
                };
            }
            if number % 50 == 1 {
                assert_eq!(content, workload.content(number), "commit {number}");
            }
        }
        for table in 0..TABLES.len() as u8 {
            assert!(content.keys().any(|(of, _)| *of == table), "no rows in table {table}");
        }
    }
}
