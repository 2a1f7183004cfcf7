//! Damaged files. Whatever is cut off, flipped, missing or old, the store opens with all of its
//! rows or not at all.
//!
//! `make store-damage` damages many more places.

use std::path::PathBuf;

use super::*;

/// Makes a store with rows in tables and in the log, and returns its contents.
fn image() -> (TempDir, Contents) {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    fill(&store);
    flush(&store);
    store.commit(one(1, b"in the log only")).unwrap();
    drop(store);
    // Opening deletes files that are no longer needed, so every file left is needed.
    let expected = contents(&reopen(directory.path()).unwrap());
    (directory, expected)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()))
        } else {
            found.push(entry.path())
        }
    }
    found.sort();
    found
}

/// Damages a file in a copy of the store, opens the copy and reads all of it. True if it has all
/// rows, false if it is refused.
fn opens_whole(
    image: &Path,
    file: &Path,
    expected: &Contents,
    what: &str,
    damage: impl FnOnce(&Path),
) -> bool {
    let copy = copy_of(image);
    let damaged = copy.path().join(file.strip_prefix(image).unwrap());
    damage(&damaged);
    let read = || -> Result<Contents, StoreError> {
        let store = reopen(copy.path())?;
        let snapshot = store.snapshot()?;
        let mut rows = Contents::new();
        for table in Table::ALL {
            snapshot.range(table, b"", &[0xff; 2000], &mut |key, value| {
                rows.insert((table, key.to_vec()), value.to_vec());
                std::ops::ControlFlow::Continue(())
            })?;
        }
        for (table, key) in expected.keys() {
            snapshot.get(*table, key)?;
        }
        Ok(rows)
    };
    match read() {
        Err(StoreError::Missing { .. } | StoreError::InUse { .. }) => {
            panic!("{what}: refused with the wrong error")
        }
        Err(_) => false,
        Ok(rows) => {
            assert!(rows == *expected, "{what}: opened with other rows");
            true
        }
    }
}

/// Offsets in a file: near both ends, and some between.
fn places(bytes: usize) -> impl Iterator<Item = usize> {
    let some = (1..20).map(move |part| part * bytes / 20);
    [0, 1, 8, 20, 30]
        .into_iter()
        .chain(some)
        .chain([bytes.saturating_sub(9), bytes - 1])
        .filter(move |at| *at < bytes)
}

#[test]
fn a_file_that_was_cut_off_flipped_or_taken_away_is_refused_or_was_not_needed() {
    let (image, expected) = image();
    let mut refused = 0;
    for file in files(image.path()) {
        let name = file.strip_prefix(image.path()).unwrap().display().to_string();
        let bytes = fs::metadata(&file).unwrap().len() as usize;
        let is_needed = !name.ends_with(".end");
        let missing =
            opens_whole(image.path(), &file, &expected, &format!("{name} gone"), |file| {
                fs::remove_file(file).unwrap();
            });
        assert_eq!(missing, !is_needed, "{name}");
        for at in places(bytes) {
            let cut = |file: &Path| {
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(at as u64).unwrap()
            };
            let is_whole = opens_whole(
                image.path(),
                &file,
                &expected,
                &format!("{name} cut off at {at}"),
                cut,
            );
            assert_eq!(is_whole, !is_needed, "{name} cut off at {at}");
            let flip = |file: &Path| {
                let mut bytes = fs::read(file).unwrap();
                bytes[at] ^= 1 << (at % 8);
                fs::write(file, bytes).unwrap();
            };
            refused += usize::from(!opens_whole(
                image.path(),
                &file,
                &expected,
                &format!("{name} flipped at {at}"),
                flip,
            ));
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn verifying_finds_every_flipped_bit_of_every_table() {
    let (image, _) = image();
    for file in files(&image.path().join("tree")) {
        let bytes = fs::read(&file).unwrap();
        for at in places(bytes.len()) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&file, flipped).unwrap();
            assert!(
                verify(image.path(), &mut |_| {}).is_err(),
                "{} flipped at {at}",
                file.display()
            );
            // Opening may have deleted files that the damaged list did not name.
            fs::write(&file, &bytes).unwrap();
        }
    }
    verify(image.path(), &mut |_| {}).unwrap();
}

#[test]
fn an_older_copy_of_a_part_is_refused() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    fill(&store);
    drop(store);
    let old = copy_of(directory.path());
    let store = reopen(directory.path()).unwrap();
    store.commit(one(1, b"later")).unwrap();
    flush(&store);
    store.commit(one(2, b"latest")).unwrap();
    let expected = contents(&store);
    drop(store);
    for part in ["tree", "hailer.wal"] {
        let mixed = copy_of(directory.path());
        let place = mixed.path().join(part);
        if place.is_dir() {
            fs::remove_dir_all(&place).unwrap();
            fs::create_dir(&place).unwrap();
            copy_all(&old.path().join(part), &place);
        } else {
            fs::copy(old.path().join(part), &place).unwrap();
        }
        match reopen(mixed.path()) {
            // The log still had the commits that the older tables do not have.
            Ok(store) => assert_eq!(contents(&store), expected),
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{part}: {error}"),
        }
    }
    // A copy of all parts, from one moment, is a valid store.
    assert_eq!(get(&reopen(old.path()).unwrap(), 1), None);
}
