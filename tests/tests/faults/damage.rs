//! Damaged stores: the engine must refuse to start, name the file, say why, and name the way out.
//! It starts again with the original file.

use std::fs;
use std::path::Path;

use hailer_tests::copies::copy;
use hailer_tests::site::{Outcome, Site};

use super::testbed::TestBed;

/// The number of events before the engine is killed.
const EVENTS: usize = 60;

/// Tries each damage, and returns their number.
pub(super) fn refused(bed: &TestBed) -> usize {
    let (tree, aside) = (bed.store().join("tree"), bed.site.path("tree.whole"));
    let table = fs::read_dir(tree.join("tables"))
        .expect("tables")
        .next()
        .expect("a table")
        .expect("its name")
        .path();
    let (name, current) = (tree.display().to_string(), tree.join("current"));
    let cut = |file: &Path, left: u64| {
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() * left / 10).unwrap();
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a [&'a str], &'a [&'a str]);
    let damages: [Damage<'_>; 6] = [
        ("cut off", &|| cut(&table, 9), &[], &[&name, "restore a backup"]),
        ("emptied", &|| cut(&table, 0), &[], &[&name, "restore a backup"]),
        ("flipped", &|| flip(&current), &[], &[&name, "damaged", "restore a backup"]),
        (
            "without a table",
            &|| fs::remove_file(&table).unwrap(),
            &[],
            &[&name, "restore a backup"],
        ),
        (
            "another environment's",
            &|| {},
            &["--set", "environment=production"],
            &["belongs to the environment `local`", "correct `environment`"],
        ),
        (
            "lost",
            &|| fs::remove_dir_all(&tree).unwrap(),
            &[],
            &[&name, "the log beside it", "restore a backup"],
        ),
    ];
    copy(&tree, &aside);
    for (what, damage, flags, parts) in damages {
        damage();
        refuses(&run(bed, flags), what, parts);
        if tree.exists() {
            fs::remove_dir_all(&tree).unwrap();
        }
        copy(&aside, &tree);
    }
    damages.len()
}

/// Damages the WAL of a killed engine, without which its tables are incomplete. Returns the number
/// of damages tried.
pub(super) async fn log_refused(bed: &mut TestBed) -> usize {
    bed.publish(EVENTS).await;
    let mut engine = bed.start_armed("after-commit=1");
    assert_eq!(engine.ended().await, None, "{}", engine.stderr());
    let file = bed.store().join("hailer.wal");
    let whole = fs::read(&file).expect("a log");
    let name = file.display().to_string();
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a str);
    let damages: [Damage<'_>; 3] = [
        ("cut off", &|| fs::write(&file, &whole[..whole.len() / 2]).unwrap(), "has been cut off"),
        ("flipped", &|| fs::write(&file, flipped(&whole)).unwrap(), "is damaged"),
        ("lost", &|| fs::remove_file(&file).unwrap(), "has acknowledged events"),
    ];
    for (what, damage, parts) in damages {
        damage();
        refuses(&run(bed, &[]), what, &[&name, parts, "restore a backup"]);
        fs::write(&file, &whole).unwrap();
    }
    damages.len()
}

/// Flips a bit of the first record in each half of the WAL: one of the two halves may already be in
/// the tables.
fn flipped(whole: &[u8]) -> Vec<u8> {
    const HEAD_BYTES: usize = 4096;
    let mut bytes = whole.to_vec();
    for half in [0, (whole.len() - HEAD_BYTES) / 2] {
        bytes[HEAD_BYTES + half + 100] ^= 1;
    }
    bytes
}

/// A second engine with another data directory must not open the same store.
pub(super) async fn opened_twice(bed: &TestBed) {
    let engine = bed.start();
    engine.ready().await;
    let store = bed.store().display().to_string();
    let second =
        Site::empty().run(&[bed.all_flags(), vec!["--store".into(), store.clone()]].concat());
    refuses(
        &second,
        "in use",
        &[&store, "already in use by another engine", "name another data directory"],
    );
    engine.stop().await;
}

fn run(bed: &TestBed, flags: &[&str]) -> Outcome {
    bed.site.environment(&[]);
    let flags = flags.iter().map(|flag| (*flag).to_owned());
    bed.site.run(&bed.all_flags().into_iter().chain(flags).collect::<Vec<_>>())
}

fn refuses(outcome: &Outcome, what: &str, parts: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{what}: {}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "{what}: no `{part}` in {}", outcome.stderr);
    }
}

/// Flips a bit of a file.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[12] ^= 1;
    fs::write(file, bytes).unwrap();
}
