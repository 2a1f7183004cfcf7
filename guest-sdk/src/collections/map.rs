//! The map of parameters and fields: entries in a vector, in the order of their keys. A B-tree would be a whole rule's worth
//! of code (12 kB), for maps of a few entries that are made once and then looked into.

use core::fmt;

/// A map from texts, in the order of its keys; of two entries under one key the later counts.
///
/// ```
/// use hailer_sdk::prelude::*;
///
/// let templates = Map::from([("VIP", "thanks-vip"), ("Gold", "thanks-gold")]);
/// assert_eq!(templates.get("VIP"), Some(&"thanks-vip"));
/// assert_eq!(templates.keys().collect::<Vec<_>>(), [&"Gold", &"VIP"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Map<K, V> {
    /// **Sorted by key, each key once**, on which looking up rests.
    entries: Vec<(K, V)>,
}

impl<K: AsRef<str>, V> Map<K, V> {
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        let at = self.place(key).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Puts a value under a key, in place of the one that was there.
    pub fn insert(&mut self, key: K, value: V) {
        match self.place(key.as_ref()) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.entries.insert(at, (key, value)),
        }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Where a key stands, or else where it would.
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.as_ref().cmp(key))
    }
}

impl<K: AsRef<str>, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: AsRef<str>, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        entries.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<K: AsRef<str>, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: AsRef<str> + fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_map_is_what_a_b_tree_would_be() {
        // 23 keys in every order that a step through them gives, so that they collide, too.
        for step in 1..1000_usize {
            let entries = || (0..step % 40).map(move |at| ((at * step % 23).to_string(), at));
            let (map, tree): (Map<_, _>, BTreeMap<_, _>) = (entries().collect(), entries().collect());
            assert!(map.iter().eq(&tree), "{map:?}, {tree:?}");
            assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
            assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            for key in (0..25).map(|key| key.to_string()) {
                assert_eq!(map.get(&key), tree.get(&key));
                assert_eq!(map.contains_key(&key), tree.contains_key(&key));
            }
        }
    }

    #[test]
    fn of_two_entries_under_one_key_the_later_counts() {
        assert_eq!(Map::from([("a", 1), ("b", 2), ("a", 3)]), Map::from([("a", 3), ("b", 2)]));
    }
}
