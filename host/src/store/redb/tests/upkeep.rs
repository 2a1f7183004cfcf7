//! Reading all of a store, and giving space back.

use super::*;

#[test]
fn verifying_counts_the_rows_of_every_table_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let expected = filled(&directory);
    let mut steps = Vec::new();
    let verified = verify(directory.path(), &mut |step| steps.push(step)).unwrap();
    assert_eq!(verified.identity.environment, "test");
    for (table, rows) in verified.rows {
        assert_eq!(rows, expected.keys().filter(|(of, _)| *of == table).count() as u64, "{table:?}");
    }
    assert_eq!(steps[0], Step::Pages);
    assert!(steps.contains(&Step::Rows { table: Table::Outbox, read: 4, of: 4 }));
    assert_eq!(contents(&reopen(directory.path()).unwrap()), expected);
}

#[test]
fn compacting_gives_space_back_and_keeps_every_row() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    for delete in [false, true] {
        let mut changes = Changes::new();
        for key in 0..8_000_u16 {
            match delete {
                false => changes.put(Table::Bodies, key.to_be_bytes(), vec![1; 1_000]),
                true => changes.delete(Table::Bodies, key.to_be_bytes()),
            }
        }
        store.commit(&changes).unwrap();
    }
    fill(&store);
    let expected = contents(&store);
    drop(store);
    let Compacted { bytes_before, bytes_after, .. } = compact(directory.path(), &mut |_| {}).unwrap();
    assert!(bytes_before > 7_000_000 && bytes_after < bytes_before / 3, "{bytes_before} {bytes_after}");
    let store = reopen(directory.path()).unwrap();
    assert_eq!(store.sizes().unwrap().file_bytes, bytes_after);
    assert!(contents(&store) == expected);
}
