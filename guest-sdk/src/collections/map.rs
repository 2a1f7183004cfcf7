//! The map type of parameters and fields: a vector of entries, sorted by key. Such maps have a few
//! entries, are made once and then only read. A B-tree would add 12 kB of code, as much as a whole
//! rule.

use core::fmt;

/// A map with string keys, sorted by key. If a key is inserted twice, the later value counts.
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
    /// **Sorted by key, each key once.** The binary search relies on it.
    entries: Vec<(K, V)>,
}

impl<K: AsRef<str>, V> Map<K, V> {
    /// Makes an empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The value of a key; `None` if the map lacks the key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        let at = self.place(key).ok()?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// Whether the map has the key.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value of a key. It replaces the previous value, if there is one.
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

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the map has no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The index of a key's entry (`Ok`), or the index at which it would be inserted (`Err`).
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
    fn a_map_behaves_like_a_b_tree_map() {
        // 23 keys in a different order for each `step`, with repetitions.
        for step in 1..1000_usize {
            let entries = || (0..step % 40).map(move |at| ((at * step % 23).to_string(), at));
            let (map, tree): (Map<_, _>, BTreeMap<_, _>) =
                (entries().collect(), entries().collect());
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
    fn the_later_of_two_entries_with_one_key_counts() {
        assert_eq!(Map::from([("a", 1), ("b", 2), ("a", 3)]), Map::from([("a", 3), ("b", 2)]));
    }
}
