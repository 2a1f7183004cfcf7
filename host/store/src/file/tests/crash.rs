//! Killed processes; this test binary is the process. Every commit that it reported is in the store
//! at the next open, and any other commit is there completely or not at all.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

const DIRECTORY: &str = "HAILER_TEST_STORE";

/// The process that is killed, and not a test of its own. It commits for ever and reports each
/// commit.
#[test]
fn a_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = match reopen(Path::new(&directory)) {
        Ok(store) => store,
        Err(error) => {
            report(&format!("refused: {error}"));
            return;
        }
    };
    for number in 0_u64.. {
        let mut changes = Changes::new();
        for table in [Table::Customers, Table::Journal] {
            for key in 0..32_u8 {
                // Large enough that the log is filled again and again.
                changes.put(
                    table,
                    [key],
                    [&number.to_le_bytes()[..], &noise(u64::from(key), 20_000)].concat(),
                );
            }
        }
        store.commit(changes).unwrap();
        report(&format!("committed {number}"));
    }
}

fn report(line: &str) {
    // The test harness captures `println!`, so this writes to the pipe directly.
    let mut output = std::io::stdout().lock();
    writeln!(output, "\n{line}").and_then(|()| output.flush()).unwrap();
}

fn child(directory: &TempDir) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "file::tests::crash::a_child"])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

#[test]
fn a_killed_process_leaves_every_finished_commit_and_no_partial_one() {
    let directory = TempDir::new().unwrap();
    drop(new_store(&directory));
    for round in 0..12_u64 {
        let (mut child, mut lines) = child(&directory);
        let seen = lines.find(|line| *line == format!("committed {}", 2 + round * 7)).unwrap();
        // The kill comes at a different moment in each round.
        std::thread::sleep(std::time::Duration::from_micros(round * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        // The last commit that it reported before it was killed.
        let last = lines.filter(|line| line.starts_with("committed")).last().unwrap_or(seen);
        let reported: u64 = last.rsplit(' ').next().unwrap().parse().unwrap();

        let store = reopen(directory.path()).unwrap();
        let snapshot = store.snapshot().unwrap();
        let mut numbers = Vec::new();
        for table in [Table::Customers, Table::Journal] {
            let shown = snapshot.range(table, b"", b"\xff", &mut |key, value| {
                assert!(value[8..] == noise(u64::from(key[0]), 20_000));
                numbers.push(u64::from_le_bytes(value[..8].try_into().unwrap()));
                std::ops::ControlFlow::Continue(())
            });
            shown.unwrap();
        }
        assert_eq!(numbers.len(), 64);
        assert!(
            numbers.iter().all(|number| *number == numbers[0]),
            "round {round}: part of a commit"
        );
        assert!(
            numbers[0] == reported || numbers[0] == reported + 1,
            "round {round}: reported {reported}, found {}",
            numbers[0]
        );
    }
    verify(directory.path(), &mut |_| {}).unwrap();
}

#[test]
fn a_second_process_is_refused() {
    let directory = TempDir::new().unwrap();
    let store = new_store(&directory);
    let (mut child, mut lines) = child(&directory);
    let refused =
        lines.find(|line| line.starts_with("refused") || line.starts_with("committed")).unwrap();
    let _ = child.kill();
    child.wait().unwrap();
    assert!(refused.contains("already in use"), "{refused}");
    fill(&store);
}
