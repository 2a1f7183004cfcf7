//! Stores that an engine must not start with: it names the file, says why, and shows the way out. With the file as it was it
//! goes on.

use std::fs;
use std::path::Path;

use hailer_tests::site::{Outcome, Site};
use redb::{Database, TableDefinition};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::stand::Stand;

/// Events that come before an engine is killed.
const EVENTS: usize = 60;

/// Tries each of them, and returns how many there were.
pub(super) fn refused(stand: &Stand) -> usize {
    let file = stand.store().join("hailer.redb");
    let whole = fs::read(&file).expect("the store");
    let name = file.display().to_string();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a [&'a str], &'a [&'a str]);
    let damages: [Damage<'_>; 6] = [
        ("cut off", &|file| fs::write(file, &whole[..whole.len() - 4096]).unwrap(), &[], &[&name, "restore a backup"]),
        ("emptied", &|file| fs::write(file, "").unwrap(), &[], &[&name, "restore a backup"]),
        ("flipped", &|file| flip(file, &whole), &[], &["damaged", "restore a backup"]),
        ("newer", &newer, &[], &[&name, "is of format 99", "run the version that wrote it"]),
        (
            "another environment's",
            &|_| {},
            &["--set", "environment=production"],
            &[&name, "belongs to the environment `local`", "correct `environment`"],
        ),
        ("lost", &|file| fs::remove_file(file).unwrap(), &["--set", "store.create=false"], &["is not a first start"]),
    ];
    for (what, damage, flags, said) in damages {
        damage(&file);
        refuses(&run(stand, flags), what, said);
        fs::write(&file, &whole).unwrap();
    }
    damages.len()
}

/// The log of an engine that was killed, without which its tables are not whole. Returns how many ways were tried.
pub(super) async fn log_refused(stand: &mut Stand) -> usize {
    stand.publish(EVENTS).await;
    let mut engine = stand.start_armed("after-commit=1");
    assert_eq!(engine.ended().await, None, "{}", engine.stderr());
    let file = stand.store().join("hailer.wal");
    let whole = fs::read(&file).expect("a log");
    let name = file.display().to_string();
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a str);
    let damages: [Damage<'_>; 3] = [
        ("cut off", &|| fs::write(&file, &whole[..whole.len() / 2]).unwrap(), "has been cut off"),
        ("flipped", &|| fs::write(&file, flipped(&whole)).unwrap(), "is damaged"),
        ("lost", &|| fs::remove_file(&file).unwrap(), "has events that were acknowledged"),
    ];
    for (what, damage, said) in damages {
        damage();
        refuses(&run(stand, &[]), what, &[&name, said, "restore a backup"]);
        fs::write(&file, &whole).unwrap();
    }
    damages.len()
}

/// Flips a bit of the log's first record.
fn flipped(whole: &[u8]) -> Vec<u8> {
    const FIRST_RECORD_AT: usize = 4096;
    let mut bytes = whole.to_vec();
    bytes[FIRST_RECORD_AT + 100] ^= 1;
    bytes
}

/// A second engine, with a data directory of its own, wants the same store.
pub(super) async fn opened_twice(stand: &Stand) {
    let engine = stand.start();
    engine.ready().await;
    let store = stand.store().display().to_string();
    let second = Site::empty().run(&[stand.all_flags(), vec!["--store".into(), store.clone()]].concat());
    refuses(&second, "in use", &[&store, "already in use by another engine", "name another data directory"]);
    engine.stop().await;
}

fn run(stand: &Stand, flags: &[&str]) -> Outcome {
    stand.site.environment(&[]);
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    stand.site.run(&stand.all_flags().into_iter().chain(flags).collect::<Vec<_>>())
}

fn refuses(outcome: &Outcome, what: &str, said: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{what}: {}", outcome.stderr);
    for said in said {
        assert!(outcome.stderr.contains(said), "{what}: no `{said}` in {}", outcome.stderr);
    }
}

/// Flips a bit in a name that is in rows.
fn flip(file: &Path, whole: &[u8]) {
    let mut bytes = whole.to_vec();
    let at = bytes.windows(9).rposition(|window| window == b"OnPurchas").expect("a row of the journal");
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Makes it a later version's: the row that says so, and its checksum, in their places.
fn newer(file: &Path) {
    const META: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("meta");
    let (key, row) = (&b"store"[..], br#"{"format":99,"shape":"unknown"}"#);
    let checksum = xxh3_64_with_seed(row, xxh3_64_with_seed(key, 1)).to_le_bytes();
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(key, [&row[..], &checksum].concat().as_slice()).unwrap();
    transaction.commit().unwrap();
}
