//! The lines of an export, the store that an import makes from them, and the damage that it
//! refuses.

use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::contract::{contents, new_store, small};
use crate::{Changes, FileStore, MemoryStore, verify};

/// Personal data in the values of rows, which no error may contain.
const PERSONAL: &[u8] = b"someone@example.com";

/// Makes a store with rows in every table.
fn filled() -> MemoryStore {
    let store = MemoryStore::new("test");
    let mut changes = Changes::new();
    for table in Table::ALL {
        changes.put(table, *b"\x01key", PERSONAL);
        changes.put(table, [7, table.index() as u8], *b"");
    }
    store.commit(changes).unwrap();
    store
}

fn exported(store: &dyn Store) -> Vec<u8> {
    let mut out = Vec::new();
    export(store, &mut out, &mut |_, _| {}).unwrap();
    out
}

fn import_from(mut bytes: &[u8], to: &Path) -> Result<Exported, StoreError> {
    import(&mut bytes, Path::new("an export"), to, small(), &mut |_, _| {})
}

/// Reads all lines into a store in memory.
fn read(mut from: &[u8]) -> Result<MemoryStore, StoreError> {
    let (_, mut lines) = Lines::of(&mut from, Path::new("an export"), "test")?;
    let mut changes = Changes::new();
    lines.rows(&mut |table, _, key, value| {
        if key != IDENTITY_KEY {
            changes.put(table, key, value);
        }
        Ok(())
    })?;
    let store = MemoryStore::new("test");
    store.commit(changes)?;
    Ok(store)
}

/// The line number and the text of an import error. The text must contain no value.
fn refusal(export: &[u8]) -> (u64, String) {
    let shown = || String::from_utf8_lossy(export).into_owned();
    match read(export) {
        Ok(_) => panic!("this is accepted as an export:\n{}", shown()),
        Err(error @ StoreError::Import { line, .. }) => {
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("cannot import `an export`: line {line} ")),
                "{text}"
            );
            let hidden = String::from_utf8_lossy(PERSONAL).into_owned();
            let in_hex = hex::encode(PERSONAL);
            assert!(!text.contains(&hidden) && !text.contains(&in_hex), "{text}");
            (line, text)
        }
        Err(error) => panic!("{error}:\n{}", shown()),
    }
}

fn lines_of(export: &[u8]) -> Vec<Vec<u8>> {
    export.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// These lines with a correct last line.
fn sealed(lines: &[Vec<u8>]) -> Vec<u8> {
    let (mut counts, mut sum) = (Counts::default(), blake3::Hasher::new());
    for line in lines {
        sum.update(line);
        let table = parts(line.trim_ascii_end()).map(|[table, ..]| table);
        if let Some(table) =
            Table::ALL.into_iter().find(|known| Some(known.name().as_bytes()) == table)
        {
            counts.add(table);
        }
    }
    [lines.concat(), (last_line(&counts, &sum) + "\n").into_bytes()].concat()
}

fn row(table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    write_row(&mut line, table, key, value);
    line
}

#[test]
fn a_new_store_has_every_row_and_the_identity_of_the_exported_one() {
    let directory = TempDir::new().unwrap();
    let (memory, on_disk) = (filled(), new_store(&directory));
    let mut changes = Changes::new();
    for table in Table::ALL {
        changes.put(table, [], *b"of the empty key");
        changes.put(table, [0xff; KEY_BYTES_MAX], *b"of the greatest key");
        changes.put(table, [9; 40], (0..=255).collect::<Vec<u8>>());
    }
    changes.put(Table::Bodies, *b"large", vec![0x5a; 1 << 20]);
    for (name, store) in [("memory", &memory as &dyn Store), ("file", &on_disk)] {
        store.commit(changes.clone()).unwrap();
        let place = directory.path().join(name);
        let export = exported(store);
        let made = import_from(&export, &place).unwrap();
        assert_eq!(made.identity, *store.identity());
        let copy = FileStore::open(&place, Opening::of("test")).unwrap();
        assert_eq!(copy.identity(), store.identity());
        assert!(contents(&copy) == contents(store), "{name}");
        assert!(exported(&copy) == export, "{name}");
        assert_eq!(
            made.rows.iter().map(|(_, rows)| rows).sum::<u64>(),
            contents(&copy).len() as u64
        );
        let mut later = Changes::new();
        later.put(Table::Customers, *b"later", *b"");
        copy.commit(later).unwrap();
        drop(copy);
        let rows = verify(&place, &mut |_| {}).unwrap().rows;
        assert_eq!(rows[Table::Timers.index()], made.rows[Table::Timers.index()]);
    }
    assert!(contents(&read(&exported(&memory)).unwrap()).len() == contents(&memory).len());
}

#[test]
fn the_lines_of_an_export_never_change() {
    let store = MemoryStore::new("test");
    let mut changes = Changes::new();
    changes.put(Table::Trail, *b"\x00\xab", *b"");
    store.commit(changes).unwrap();
    let Identity { created_at, .. } = store.identity();
    let identity = format!(
        r#"{{"format":10,"environment":"test","id":"{}","createdAt":"{created_at}"}}"#,
        "0".repeat(32)
    );
    let in_hex = hex::encode(&identity);
    let rows = format!(
        "{{\"hailerStoreExport\":1,\"store\":{identity}}}\n\
         [\"meta\",\"73746f7265\",\"{in_hex}\"]\n[\"trail\",\"00ab\",\"\"]\n"
    );
    let end = "{\"rows\":{\"meta\":1,\"customers\":0,\"timers\":0,\"seen\":0,\"outbox\":0,\"\
               journal\":0,\"trail\":1,\"failures\":0,\"bodies\":0,\"redirects\":0},\"blake3\":\"";
    let expected = format!("{rows}{end}{}\"}}\n", blake3::hash(rows.as_bytes()));
    assert_eq!(String::from_utf8(exported(&store)).unwrap(), expected);
}

#[test]
fn an_export_that_is_cut_off_anywhere_is_refused() {
    let export = exported(&filled());
    assert!(read(&export).is_ok());
    for bytes in 0..export.len() {
        let (line, text) = refusal(&export[..bytes]);
        let ends = export[..bytes].iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(line, ends + 1, "{bytes}: {text}");
        let expected = if bytes == 0 || export[bytes - 1] == b'\n' {
            "is missing, and so is the end"
        } else {
            "is cut off"
        };
        assert!(text.contains(expected), "{bytes}: {text}");
    }
}

#[test]
fn a_byte_that_is_changed_added_or_removed_anywhere_is_found() {
    let export = exported(&filled());
    for at in 0..export.len() {
        let changes = [export[at] ^ 1, export[at] ^ 0x20, export[at] ^ 0x80, b'\n', b'"', b'0'];
        for byte in changes.into_iter().filter(|byte| *byte != export[at]) {
            let mut changed = export.clone();
            changed[at] = byte;
            refusal(&changed);
        }
        let (before, after) = export.split_at(at);
        refusal(&[before, b" ", after].concat());
        refusal(&[before, &after[..1], after].concat());
        refusal(&[before, &after[1..]].concat());
    }
    refusal(&[&export[..], b" "].concat());
}

#[test]
fn lines_that_are_missing_doubled_or_in_another_place_are_refused() {
    let lines = lines_of(&exported(&filled()));
    for at in 0..lines.len() {
        let (mut without, mut doubled, mut swapped) = (lines.clone(), lines.clone(), lines.clone());
        without.remove(at);
        refusal(&without.concat());
        doubled.insert(at, lines[at].clone());
        refusal(&doubled.concat());
        if at + 1 < lines.len() {
            swapped.swap(at, at + 1);
            refusal(&swapped.concat());
        }
    }
    let rows = &lines[..lines.len() - 1];
    assert!(read(&sealed(rows)).is_ok());
    // Wrong lines are refused even with a correct checksum.
    for at in 1..rows.len() - 1 {
        let (mut doubled, mut swapped) = (rows.to_vec(), rows.to_vec());
        doubled.insert(at, rows[at].clone());
        swapped.swap(at, at + 1);
        for wrong in [doubled, swapped] {
            let (line, text) = refusal(&sealed(&wrong));
            assert_eq!(line, at as u64 + 2, "{text}");
            assert!(text.contains("not after the row before it"), "{text}");
        }
    }
}

#[test]
fn two_joined_exports_are_refused() {
    let export = exported(&filled());
    let lines = lines_of(&export);
    let (line, text) = refusal(&[&export[..], &export].concat());
    assert_eq!(line, lines.len() as u64 + 1);
    assert!(
        text.contains("comes after the last line of the export; copy the file again"),
        "{text}"
    );
    let (line, text) = refusal(&[&lines[..5].concat()[..], &export].concat());
    assert!(
        line == 6 && text.contains("is neither a row nor the last line of an export"),
        "{text}"
    );
    // The last line of one export below the rows of another.
    let other = lines_of(&exported(&MemoryStore::new("test")));
    let text = refusal(&[lines[..5].concat(), other[other.len() - 1].clone()].concat()).1;
    assert!(text.contains("has row counts that do not match the lines above it"), "{text}");
}

#[test]
fn a_first_line_that_is_not_of_an_export_of_this_version_is_refused() {
    let [header, ..] = &lines_of(&exported(&filled()))[..] else { panic!() };
    let header = std::str::from_utf8(header).unwrap();
    let with = |from: &str, to: &str| {
        assert!(header.contains(from));
        sealed(&[header.replace(from, to).into_bytes()])
    };
    for (export, expected) in [
        (Vec::new(), "line 1 is missing"),
        (
            b"\n".to_vec(),
            "is not the first line of an export; name a file of `hailer store export`",
        ),
        (b"(\xb5/\xfd\n".to_vec(), "decompressed if it was compressed"),
        (b"{\"eventCode\":\"OnPurchaseConfirm\"}\n".to_vec(), "is not the first line of an export"),
        (vec![b'a'; 2 * HEADER_BYTES_MAX], "line 1 is longer than any line of an export"),
        (
            with("Export\":1", "Export\":2,\"new\":true"),
            "export version 2, and this version of hailer reads 1 only",
        ),
        (
            with("\"format\":10", "\"format\":11"),
            "store format 11, and this version of hailer imports format 10 only",
        ),
        (
            with("\"format\":10", "\"format\":7"),
            "store format 7, and this version of hailer imports format 10 only; import it with the \
             version of hailer that wrote it",
        ),
        (
            with("\"test\"", "\"other\\u001b\""),
            "environment `other\\u{1b}`, and the configuration has `test`; correct",
        ),
        (with(&"0".repeat(32), &"0".repeat(31)), "is not the first line of an export"),
        (with(&"0".repeat(32), &"\\u001b".repeat(32)), "is not the first line of an export"),
        (
            with("\"createdAt\":\"", "\"createdAt\":\"someone@example.com"),
            "is not the first line of an export",
        ),
    ] {
        let (line, text) = refusal(&export);
        assert!(line == 1 && text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn an_invalid_row_is_refused_even_with_a_correct_checksum() {
    let lines = lines_of(&exported(&filled()));
    let header = lines[0].clone();
    let long = row(Table::Customers, &[1; KEY_BYTES_MAX + 1], b"");
    let another_identity = row(Table::Meta, IDENTITY_KEY, b"another");
    for (line, expected) in [
        (
            &b"[\"customs\",\"00\",\"\"]\n"[..],
            "has a table that this version of hailer does not have",
        ),
        (b"[\"seen\",\"0\",\"\"]\n", "not lower-case hex"),
        (b"[\"seen\",\"0A\",\"\"]\n", "not lower-case hex"),
        (b"[\"seen\",\"00\",\"0g\"]\n", "not lower-case hex"),
        (b"[\"seen\",\"00\"]\n", "is neither a row nor"),
        (b"[\"seen\",\"00\",\"00\",\"00\"]\n", "is neither a row nor"),
        (b"[ \"seen\",\"00\",\"00\"]\n", "is neither a row nor"),
        (b"\n", "is neither a row nor"),
        (&long, "longer than a store accepts"),
        (&another_identity, "names another store than line 1"),
    ] {
        let (number, text) = refusal(&sealed(&[header.clone(), line.to_vec()]));
        assert!(number == 2 && text.contains(expected), "{expected}: {text}");
    }
    let longest = row(Table::Customers, &[1; KEY_BYTES_MAX], b"");
    assert!(read(&sealed(&[header, longest])).is_ok());
}

#[test]
fn a_store_is_made_whole_or_not_at_all_and_replaces_nothing() {
    let parent = TempDir::new().unwrap();
    let place = parent.path().join("store");
    let export = exported(&filled());
    let entries = || fs::read_dir(parent.path()).unwrap().count();
    for bytes in [0, export.len() / 2, export.len() - 1] {
        assert!(import_from(&export[..bytes], &place).is_err());
        assert_eq!(entries(), 0, "a temporary directory was left behind");
    }
    // Only the last line shows that this row is missing.
    let mut lines = lines_of(&export);
    lines.remove(5);
    assert!(matches!(import_from(&lines.concat(), &place), Err(StoreError::Import { .. })));
    assert_eq!(entries(), 0);
    import_from(&export, &place).unwrap();
    let before = contents(&FileStore::open(&place, Opening::of("test")).unwrap());
    // The path is checked before the rows.
    for other in [exported(&MemoryStore::new("test")), lines.concat()] {
        let refused = import_from(&other, &place).unwrap_err();
        assert!(matches!(refused, StoreError::Exists { .. }), "{refused}");
    }
    assert_eq!(contents(&FileStore::open(&place, Opening::of("test")).unwrap()), before);
    assert_eq!(entries(), 1);
}

#[test]
fn a_directory_that_appears_during_an_import_is_not_replaced() {
    let parent = TempDir::new().unwrap();
    let place = parent.path().join("store");
    let appear = &mut |_, _| fs::create_dir_all(&place).unwrap();
    let refused =
        import(&mut &*exported(&filled()), Path::new("f"), &place, small(), appear).unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(parent.path()).unwrap().count(),
        1,
        "a temporary directory was left behind"
    );
}

/// Fails one write after this many bytes. Later writes succeed.
struct FullOnce(Option<usize>);

impl Write for FullOnce {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(room) = &mut self.0 else { return Ok(bytes.len()) };
        let taken = bytes.len().min(*room);
        *room -= taken;
        if taken == 0 {
            self.0 = None;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failed_write_at_any_byte_of_an_export_is_an_error() {
    let store = filled();
    for bytes in 0..exported(&store).len() {
        let error = export(&store, &mut FullOnce(Some(bytes)), &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, ExportError::Write(_)), "{bytes}: {error}");
    }
}

#[test]
fn progress_counts_the_rows_of_each_table() {
    let (store, directory) = (filled(), TempDir::new().unwrap());
    let (mut out, mut written, mut read) = (Vec::new(), Vec::new(), Vec::new());
    export(&store, &mut out, &mut |table, rows| written.push((table, rows))).unwrap();
    let to = directory.path().join("store");
    import(&mut &*out, Path::new("f"), &to, small(), &mut |table, rows| read.push((table, rows)))
        .unwrap();
    assert_eq!(written, read);
    assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), contents(&store).len());
    assert!(written.contains(&(Table::Meta, 3)) && written.contains(&(Table::Redirects, 2)));
}
