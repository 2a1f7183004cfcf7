//! Reads a file that may be written at the same time: **the beginning of a TOML file is valid
//! TOML**, and would start an engine with default settings.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// A file without a line feed at its end is complete when it has not changed for this time.
const UNENDED: Duration = Duration::from_secs(3);
/// Any other file is complete when it has not changed for this time.
const ENDED: Duration = Duration::from_millis(1000);
/// The time after which the file is read in any case, because a file that changes all the time must
/// not keep an engine from starting.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Reads a text when the file has not changed for a while. An older file is read at once.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(path)?;
        let written = std::fs::metadata(path)?.modified()?;
        let wanted = if text.is_empty() || text.ends_with('\n') { ENDED } else { UNENDED };
        // A modification time in the future is ignored.
        let is_fresh = SystemTime::now().duration_since(written).is_ok_and(|age| age < wanted);
        if !is_fresh || Instant::now() >= until {
            return Ok(text);
        }
        sleep(LOOKS_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hailer.toml");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"environment = \"production\"\n").unwrap();
        let reading = path.clone();
        let reader = std::thread::spawn(move || read(&reading).unwrap());
        for line in ["sink = \"amqp:", "//h/\"\n", "shards = 2\n"] {
            sleep(Duration::from_millis(400));
            file.write_all(line.as_bytes()).unwrap();
        }
        assert!(reader.join().unwrap().ends_with("shards = 2\n"));
    }
}
