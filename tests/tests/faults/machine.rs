//! Faults of the machine: a clock that jumps, a stopped process, a full disk.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hailer_tests::copies::copy;
use hailer_tests::engine::Engine;
use hailer_tests::wait;
use rustix::process::Signal;

use super::testbed::{TestBed, send};

const EVENTS: usize = 300;
/// The engine accepts a clock that is wrong by this much.
const LITTLE_MS: i64 = 120_000;
/// Longer than two heartbeats of 2 s, after which the broker closes the connection.
const TOO_LONG: Duration = Duration::from_secs(7);
/// The free space of the small disk beside the existing store.
const ROOM_BYTES: u64 = 3 << 20;
/// The number of events that fill the small disk.
const FILLED_WITHIN: usize = 300_000;

/// The clock is two minutes behind for a while, and then two minutes ahead.
pub(super) async fn clock(bed: &mut TestBed) -> Engine {
    for shift in [0, -LITTLE_MS, 0] {
        let engine = bed.start_armed(&format!("clock-ms={shift}"));
        engine.ready().await;
        let messages = bed.ledger.write(EVENTS / 3);
        send(&bed.wiring, &messages).await;
        let acknowledged = "hailer_source_acknowledged_total";
        wait::until("the events are acknowledged", async || {
            engine.metric(acknowledged).await >= messages.len() as f64
        })
        .await;
        engine.stop().await;
    }
    let engine = bed.start_armed(&format!("clock-ms={LITTLE_MS}"));
    engine.ready().await;
    bed.publish(EVENTS / 3).await;
    engine
}

/// The process is stopped until its broker has closed the connection, and continues.
pub(super) async fn stopped(bed: &mut TestBed) -> Engine {
    let address = bed.wiring.address.clone();
    bed.wiring.address = bed.broker.address();
    bed.publish(EVENTS).await;
    let engine = bed.start();
    engine.ready().await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(bed.random.below(60) as u64)).await;
        engine.signal(Signal::STOP);
        let messages = bed.ledger.write(EVENTS / 3);
        send(&bed.wiring, &messages).await;
        tokio::time::sleep(TOO_LONG).await;
        engine.signal(Signal::CONT);
        let reconnected = "hailer_source_reconnects_total";
        wait::until("the engine reconnects", async || engine.metric(reconnected).await >= 1.0)
            .await;
        engine.ready().await;
    }
    bed.wiring.address = address;
    engine
}

/// The disk becomes full: the engine reports it and ends, and starts again when there is room.
pub(super) async fn full_disk(bed: &mut TestBed) {
    let first = bed.store();
    let so_far = hailer::store::file_bytes(&first);
    let disk = Disk::new(bed.site.path("disk"), so_far + ROOM_BYTES);
    let store = disk.directory.join("store");
    if first.exists() {
        copy(&first, &store);
    }
    bed.flags = ["--store".into(), store.display().to_string()].to_vec();
    let mut engine = bed.start();
    let mut published = 0;
    while tokio::time::timeout(Duration::from_millis(50), engine.ended()).await.is_err() {
        assert!(published < FILLED_WITHIN, "the disk does not become full");
        published += EVENTS;
        bed.publish(EVENTS).await;
        bed.collect().await;
    }
    let said = engine.stderr();
    assert_eq!(engine.ended().await, Some(1), "{said}");
    assert!(said.contains("there is no space left for") && said.contains("make room"), "{said}");
    disk.has_room();
    let engine = bed.start();
    engine.ready().await;
    engine.stop().await;
    if first.exists() {
        std::fs::remove_dir_all(&first).expect("no store");
    }
    copy(&store, &first);
    bed.flags.clear();
}

/// A tmpfs of a fixed size.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    fn new(directory: PathBuf, bytes: u64) -> Disk {
        std::fs::create_dir_all(&directory).expect("a directory");
        let disk = Disk { directory };
        disk.mount(&format!("size={bytes}"));
        disk
    }

    fn has_room(&self) {
        self.mount("remount,size=256m");
    }

    fn mount(&self, options: &str) {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.directory)
            .output();
        let mount = mount.expect("the command `mount`");
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
    }
}
