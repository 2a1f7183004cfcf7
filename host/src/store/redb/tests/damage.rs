//! Files that are not what was written: whatever is cut off or flipped, the store opens with everything, or not at all.

use std::fs;
use std::ops::ControlFlow;

use ::redb::ReadableTable;

use super::*;
use crate::store::redb::disk::Failure;
use crate::store::redb::header::{FLAGS_AT, HEADER_BYTES, NOT_CLOSED, SECOND_IS_PRIMARY, TWO_PHASES};
use crate::store::redb::open::open_with;

/// Places in a file that look random, and are the same in every run.
fn places(count: usize, below: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    })
    .take(count)
}

/// The bytes of a closed store, those of one whose process died, and what is in both.
fn images() -> ([Vec<u8>; 2], Contents) {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    fill(&store);
    let expected = contents(&store);
    let left_open = fs::read(file_of(&directory)).unwrap();
    drop(store);
    ([fs::read(file_of(&directory)).unwrap(), left_open], expected)
}

/// Opens a damaged image and reads all of it; true if nothing was found.
fn opens_whole(image: &[u8], expected: &Contents, damage: &str) -> bool {
    let directory = TempDir::new().unwrap();
    fs::write(file_of(&directory), image).unwrap();
    match reopen(directory.path()) {
        Err(StoreError::Missing { .. } | StoreError::InUse { .. }) => panic!("{damage}: the wrong refusal"),
        Err(_) => false,
        Ok(store) => {
            assert!(contents(&store) == *expected, "{damage}: it opened with something else");
            drop(store);
            verify(directory.path(), &mut |_| {}).unwrap();
            true
        }
    }
}

#[test]
fn an_image_that_is_not_damaged_opens() {
    let (images, expected) = images();
    for image in images {
        assert!(opens_whole(&image, &expected, "no damage"));
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let (images, expected) = images();
    for (image, kind) in images.iter().zip(["closed", "left open"]) {
        let whole = image.len();
        let ends =
            [0, 1, 9, 64, HEADER_BYTES - 1, HEADER_BYTES, 4_095, 4_096, 8_192, whole / 2, whole - 4_096, whole - 1];
        for end in ends.into_iter().chain(places(20, whole)) {
            assert!(!opens_whole(&image[..end], &expected, kind), "{kind}: cut off at {end}");
        }
    }
    let directory = TempDir::new().unwrap();
    fs::write(file_of(&directory), &images[0][..images[0].len() - 4_096]).unwrap();
    assert!(matches!(reopen(directory.path()), Err(StoreError::Truncated { .. })));
}

#[test]
fn a_flipped_bit_of_the_header_is_found_or_does_not_matter() {
    let (images, expected) = images();
    for (image, kind) in images.iter().zip(["closed", "left open"]) {
        for byte in 0..HEADER_BYTES {
            // Every bit of what is not checked by redb, and one of what is.
            let bits = if byte < 64 { 0..8 } else { byte % 8..byte % 8 + 1 };
            for bit in bits {
                let mut flipped = image.clone();
                flipped[byte] ^= 1 << bit;
                opens_whole(&flipped, &expected, &format!("{kind}: bit {bit} of byte {byte}"));
            }
        }
    }
}

#[test]
fn a_flip_of_which_commit_is_the_last_is_settled() {
    let ([mut closed, mut left_open], expected) = images();
    for image in [&mut closed, &mut left_open] {
        image[9] ^= 1;
    }
    assert!(opens_whole(&closed, &expected, "closed"));
    assert!(opens_whole(&left_open, &expected, "left open"));
}

#[test]
fn a_process_that_ends_while_redb_goes_back_to_the_last_whole_commit_leaves_a_sound_file() {
    let ([_, mut image], expected) = images();
    // What redb writes then: as if it had been closed, behind a commit of one phase, and the number of the other commit is still the newer one.
    let flags = &mut image[FLAGS_AT as usize];
    assert_eq!(*flags & (NOT_CLOSED | TWO_PHASES), NOT_CLOSED | TWO_PHASES);
    *flags = (*flags ^ SECOND_IS_PRIMARY) & !(NOT_CLOSED | TWO_PHASES);
    assert!(opens_whole(&image, &expected, "going back was interrupted"));
}

#[test]
fn a_process_that_ends_at_any_write_of_an_opening_leaves_a_sound_file() {
    let (images, expected) = images();
    for (image, kind) in images.iter().zip(["closed", "left open"]) {
        for check_bytes_max in [u64::MAX, 0] {
            let mut writes = 0;
            loop {
                let directory = TempDir::new().unwrap();
                fs::write(file_of(&directory), image).unwrap();
                let failure = Arc::<Failure>::default();
                *lock(&failure.writes_left) = Some(writes);
                // What comes behind the last write that succeeds is lost, that of closing it too.
                drop(open_with(&file_of(&directory), 1 << 20, check_bytes_max, Arc::clone(&failure)));
                let is_all = *lock(&failure.writes_left) != Some(0);
                let left = fs::read(file_of(&directory)).unwrap();
                assert!(opens_whole(&left, &expected, kind), "{kind}: it ended after {writes} writes");
                if is_all {
                    break;
                }
                writes += 1;
            }
            assert!(writes > 2, "{kind}: an opening writes");
        }
    }
}

#[test]
fn a_flipped_bit_of_a_page_is_found_or_does_not_matter() {
    let (images, expected) = images();
    for (image, kind) in images.iter().zip(["closed", "left open"]) {
        let used: Vec<usize> = (HEADER_BYTES..image.len()).filter(|&byte| image[byte] != 0).collect();
        let mut found = 0;
        for place in places(300, used.len()) {
            let byte = used[place];
            let mut flipped = image.clone();
            flipped[byte] ^= 1 << (place % 8);
            found += u32::from(!opens_whole(&flipped, &expected, &format!("{kind}: byte {byte}")));
        }
        // Pages of commits that are over still have bytes, and nobody reads them.
        assert!(found > 50, "{kind}: {found} of 300 were found");
    }
}

#[test]
fn without_the_check_of_the_pages_a_damaged_row_is_still_no_other_row() {
    let ([image, _], expected) = images();
    let used: Vec<usize> = (8_192..image.len()).filter(|&byte| image[byte] != 0).collect();
    let mut found = 0;
    for place in places(300, used.len()) {
        let mut flipped = image.clone();
        flipped[used[place]] ^= 1 << (place % 8);
        let directory = TempDir::new().unwrap();
        fs::write(file_of(&directory), flipped).unwrap();
        let Ok(store) = RedbStore::open(directory.path(), Opening { check_bytes_max: 0, ..Opening::of("test") }) else {
            found += 1;
            continue;
        };
        let snapshot = store.snapshot().unwrap();
        for table in Table::ALL {
            let shown = snapshot.range(table, b"", &[0xff; 9], &mut |key, value| {
                assert_eq!(expected.get(&(table, key.to_vec())).map(|value| &**value), Some(value));
                ControlFlow::Continue(())
            });
            found += u32::from(shown.is_err());
        }
        for ((table, key), value) in &expected {
            if let Ok(Some(found)) = snapshot.get(*table, key) {
                assert!(found == *value);
            }
        }
    }
    assert!(found > 50, "{found} of 300 were found");
}

#[test]
fn a_row_that_was_changed_or_moved_in_the_file_is_named_when_it_is_read() {
    let directory = TempDir::new().unwrap();
    filled(&directory);
    tamper(&directory, |transaction| {
        let mut rows = transaction.open_table(definition(Table::Seen)).unwrap();
        let mut sealed = rows.get(&[2, 0, 2][..]).unwrap().unwrap().value().to_vec();
        rows.insert(&[3, 0, 3][..], &*sealed).unwrap();
        sealed[0] ^= 1;
        rows.insert(&[2, 0, 2][..], &*sealed).unwrap();
        rows.insert(&[4, 0, 4][..], &b"short"[..]).unwrap();
    });
    let store = reopen(directory.path()).unwrap();
    let snapshot = store.snapshot().unwrap();
    let mut none = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    for key in [[2, 0, 2], [3, 0, 3], [4, 0, 4]] {
        let next = [key[0], key[1], key[2] + 1];
        let refused = snapshot.get(Table::Seen, &key).unwrap_err();
        assert!(matches!(refused, StoreError::DamagedRow { table: "seen", .. }), "{refused}");
        assert!(snapshot.range(Table::Seen, &key, &next, &mut none).is_err());
        assert!(snapshot.last(Table::Seen, &key, &next).is_err());
    }
    assert!(snapshot.get(Table::Seen, &[5, 0, 5]).unwrap().is_some());
    let elsewhere = directory.path().join("copy");
    assert!(matches!(store.backup(&elsewhere), Err(StoreError::DamagedRow { .. })));
    assert!(!elsewhere.exists());
    drop((snapshot, store));
    assert!(matches!(verify(directory.path(), &mut |_| {}), Err(StoreError::DamagedRow { .. })));
}
