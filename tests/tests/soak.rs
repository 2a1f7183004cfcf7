//! Memory does not grow with a long input.

use std::process::{Command, Stdio};
use std::time::Duration;

use hailer_tests::built;
use hailer_tests::site::Site;

const EVENTS: u64 = 2_000_000;
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// The allocator keeps pages, and one batch may be larger than others.
const MARGIN_KB: u64 = 64 << 10;

/// The resident memory of a process, in kB; `None` after its end.
fn resident_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
#[ignore = "it takes minutes: `make soak`"]
fn memory_does_not_grow_with_a_long_standard_input() {
    let events = std::env::var("HAILER_SOAK_EVENTS")
        .map_or(EVENTS, |text| text.parse().expect("a number of events"));
    let site = Site::with_examples();
    let mut generator = Command::new(built::hailer())
        .args(["events", "--generate", &events.to_string(), "--seed", "7"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a generator");
    let (rules, data) = (site.rules(), site.data());
    let mut engine = Command::new(built::hailer())
        .args(["run", "--source", "-", "--sink", "-", "--log-level", "error", "--rules"])
        .arg(rules)
        .arg("--data")
        .arg(data)
        .stdin(generator.stdout.take().expect("a pipe"))
        .stdout(Stdio::null())
        .spawn()
        .expect("an engine");
    let mut samples = Vec::new();
    let status = loop {
        if let Some(status) = engine.try_wait().expect("an engine") {
            break status;
        }
        samples.extend(resident_kb(engine.id()));
        std::thread::sleep(SAMPLE_EVERY);
    };
    assert!(status.success() && generator.wait().expect("a generator").success(), "{status}");
    let quarter = samples.len() / 4;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or_default();
    let (second, last) = (most(&samples[quarter..2 * quarter]), most(&samples[3 * quarter..]));
    eprintln!(
        "{events} events, {} samples: at most {second} kB in the second quarter, {last} kB in the \
         last",
        samples.len()
    );
    assert!(samples.len() > 20, "{} samples", samples.len());
    assert!(last <= second + MARGIN_KB, "{samples:?}");
}
