//! The process that commits. It prints the number of each acknowledged commit with one write each,
//! so that it is at the right place in a trace.

use std::io::{BufRead, Write};
use std::path::Path;

use crate::contenders;
use crate::rows::Workload;

/// The number of retries of a failed commit.
const RETRIES: usize = 2;

/// Commits from number `from` to `to`. At `pause` it waits for a line on standard input.
pub(crate) fn run(
    name: &str,
    directory: &Path,
    workload: Workload,
    from: u64,
    to: u64,
    pause: u64,
    closes: bool,
) {
    let out = |line: &str| {
        let mut out = std::io::stdout();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    };
    let mut store = match contenders::open(name, directory, from == 1) {
        Ok(store) => store,
        Err(error) => return out(&format!("failed {from} {error}\n")),
    };
    for number in from..=to {
        let changes = workload.commit(number);
        out(&format!("try {number}\n"));
        let mut committed = store.commit(number, &changes);
        for _ in 0..RETRIES {
            if let Err(error) = &committed {
                out(&format!("failed {number} {}\n", error.replace('\n', " ")));
                committed = store.commit(number, &changes);
            }
        }
        if committed.is_err() {
            break;
        }
        out(&format!("ack {number}\n"));
        if number == pause {
            let _ = std::io::stdin().lock().lines().next();
        }
    }
    if closes {
        drop(store);
        out("closed\n");
    } else {
        let _ = std::io::stdin().lock().lines().next();
    }
}
