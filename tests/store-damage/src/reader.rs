//! The process that opens a store, reads everything, and compares it with the acknowledged commits.
//! It prints its verdict as one line.

use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::contenders::{self, Store};
use crate::rows::{META, PROGRESS, Rows, TABLES, Workload, progress_number};

/// The most memory of the reader in bytes. Needing more is a verdict of its own.
const MEMORY_BYTES_MAX: u64 = 6 << 30;
/// A part of the message of a failed allocation.
pub(crate) const OUT_OF_MEMORY: &str = "memory allocation of";

/// Reads a store and prints the verdict. `acknowledged` is the last acknowledged commit, `tried`
/// the last that was begun.
pub(crate) fn run(name: &str, directory: &Path, workload: Workload, acknowledged: u64, tried: u64) {
    let limit = Rlimit { current: Some(MEMORY_BYTES_MAX), ..getrlimit(Resource::As) };
    if let Err(error) = setrlimit(Resource::As, limit) {
        println!("failed: the limit of memory cannot be set: {error}");
        return;
    }
    let verdict = match contenders::open(name, directory, false) {
        Err(error) => format!("refused open {error}"),
        Ok(store) => {
            let compared = compare(&*store, workload, acknowledged, tried);
            // Closing a store may take long, and is not tested here.
            std::mem::forget(store);
            match compared {
                Err(error) => format!("refused read {error}"),
                Ok(Ok(number)) => format!("intact {number}"),
                Ok(Err(lost)) => format!("SHORT {lost}"),
            }
        }
    };
    println!("{}", verdict.replace('\n', " "));
    std::process::exit(0);
}

/// Returns the number of the last commit in the store, or a text about the differences.
fn compare(
    store: &dyn Store,
    workload: Workload,
    acknowledged: u64,
    tried: u64,
) -> contenders::Result<Result<u64, String>> {
    let progress = store.get(META, PROGRESS)?;
    let number = progress.as_deref().and_then(progress_number).unwrap_or(0);
    if !(acknowledged..=tried).contains(&number) {
        return Ok(Err(format!(
            "it ends with commit {number}, and commit {acknowledged} was acknowledged"
        )));
    }
    let expected = workload.content(number);
    let mut found = Rows::new();
    for table in 0..TABLES.len() as u8 {
        store.all(table, &mut |key, value| drop(found.insert((table, key.to_vec()), value)))?;
    }
    let mut lost = Vec::new();
    for (table, table_name) in (0_u8..).zip(TABLES) {
        let of_table = (table, Vec::new())..(table + 1, Vec::new());
        let (expected, mut found) = (expected.range(of_table.clone()), found.range(of_table));
        let (mut missing, mut other, mut more) = (0, 0, 0);
        let mut next = found.next();
        for (place, value) in expected {
            while let Some((extra, _)) = next.filter(|(key, _)| *key < place) {
                more += usize::from(extra != place);
                next = found.next();
            }
            match next.filter(|(key, _)| *key == place) {
                None => missing += 1,
                Some((_, read)) => {
                    other += usize::from(read != value);
                    next = found.next();
                }
            }
        }
        more += usize::from(next.is_some()) + found.count();
        if missing + other + more > 0 {
            lost.push(format!(
                "{table_name}: {missing} rows missing, {other} other, {more} too many"
            ));
        }
    }
    // A lookup uses filters, and a scan does not, so both are tested.
    let mut not_found = 0;
    for ((table, key), value) in &expected {
        not_found += usize::from(store.get(*table, key)?.as_ref() != Some(value));
    }
    if lost.is_empty() && not_found > 0 {
        lost.push(format!("{not_found} rows are not found by their key"));
    }
    Ok(if lost.is_empty() { Ok(number) } else { Err(lost.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Changes, Place};

    /// A store in memory that a test changes.
    struct Held(Rows);

    impl Store for Held {
        fn commit(&mut self, _: u64, _: &Changes) -> contenders::Result<()> {
            Err("this store is read only".to_owned())
        }
        fn get(&self, table: u8, key: &[u8]) -> contenders::Result<Option<Vec<u8>>> {
            Ok(self.0.get(&(table, key.to_vec())).cloned())
        }
        fn all(&self, table: u8, visit: &mut dyn FnMut(&[u8], Vec<u8>)) -> contenders::Result<()> {
            let rows = self.0.iter().filter(|((of, _), _)| *of == table);
            rows.for_each(|((_, key), value)| visit(key, value.clone()));
            Ok(())
        }
    }

    #[test]
    fn every_difference_is_noticed() {
        let workload = Workload { seed: 3, filler_bytes: 0 };
        let whole = workload.content(20);
        let lost = |rows: &Rows| compare(&Held(rows.clone()), workload, 20, 21).unwrap();
        assert_eq!(lost(&whole), Ok(20));
        let places: Vec<Place> =
            whole.keys().filter(|(table, _)| *table != META).step_by(101).cloned().collect();
        for place in places {
            let mut rows = whole.clone();
            let value = rows.remove(&place).unwrap();
            assert!(
                lost(&rows).unwrap_err().contains("1 rows missing, 0 other, 0 too many"),
                "{place:?}"
            );
            rows.insert(place.clone(), [&value[..], &[0]].concat());
            assert!(
                lost(&rows).unwrap_err().contains("0 rows missing, 1 other, 0 too many"),
                "{place:?}"
            );
            rows.insert(place.clone(), value);
            rows.insert((place.0, [&place.1[..], &[0]].concat()), Vec::new());
            assert!(
                lost(&rows).unwrap_err().contains("0 rows missing, 0 other, 1 too many"),
                "{place:?}"
            );
        }
        assert!(lost(&workload.content(19)).unwrap_err().contains("ends with commit 19"));
        assert!(lost(&workload.content(22)).unwrap_err().contains("ends with commit 22"));
        assert_eq!(lost(&workload.content(21)), Ok(21));
    }
}
