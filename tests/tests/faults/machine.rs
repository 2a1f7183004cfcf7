//! The machine's faults: a clock that jumps, a process that stands still, a disk that is full.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hailer_tests::copies::copy;
use hailer_tests::engine::Engine;
use hailer_tests::wait;
use rustix::process::Signal;

use super::stand::{Stand, send};

const EVENTS: usize = 300;
/// A clock that is wrong by so much is believed.
const LITTLE_MS: i64 = 120_000;
/// More than two heartbeats of 2 s.
const TOO_LONG: Duration = Duration::from_secs(7);
/// What a small disk has room for beside the store that is there.
const ROOM_BYTES: u64 = 3 << 20;
/// So many events fill any small disk.
const FILLED_WITHIN: usize = 300_000;

/// The clock is a little behind for a while, and then a little ahead.
pub(super) async fn clock(stand: &mut Stand) -> Engine {
    for shift in [0, -LITTLE_MS, 0] {
        let engine = stand.start_armed(&format!("clock-ms={shift}"));
        engine.ready().await;
        let messages = stand.ledger.write(EVENTS / 3);
        send(&stand.wiring, &messages).await;
        let acknowledged = "hailer_source_acknowledged_total";
        wait::until("they are acknowledged", async || engine.metric(acknowledged).await >= messages.len() as f64).await;
        engine.stop().await;
    }
    let engine = stand.start_armed(&format!("clock-ms={LITTLE_MS}"));
    engine.ready().await;
    stand.publish(EVENTS / 3).await;
    engine
}

/// The process stands still until its broker has given it up, and goes on.
pub(super) async fn stopped(stand: &mut Stand) -> Engine {
    let address = stand.wiring.address.clone();
    stand.wiring.address = stand.broker.address();
    stand.publish(EVENTS).await;
    let engine = stand.start();
    engine.ready().await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(stand.random.below(60) as u64)).await;
        engine.signal(Signal::STOP);
        let messages = stand.ledger.write(EVENTS / 3);
        send(&stand.wiring, &messages).await;
        tokio::time::sleep(TOO_LONG).await;
        engine.signal(Signal::CONT);
        let reconnected = "hailer_source_reconnects_total";
        wait::until("it has noticed", async || engine.metric(reconnected).await >= 1.0).await;
        engine.ready().await;
    }
    stand.wiring.address = address;
    engine
}

/// The disk becomes full, the engine says so and ends, and goes on when there is room.
pub(super) async fn full_disk(stand: &mut Stand) {
    let first = stand.store();
    let so_far = hailer::store::file_bytes(&first);
    let disk = Disk::new(stand.site.path("disk"), so_far + ROOM_BYTES);
    let store = disk.directory.join("store");
    if first.exists() {
        copy(&first, &store);
    }
    stand.flags = ["--store".into(), store.display().to_string()].to_vec();
    let mut engine = stand.start();
    let mut published = 0;
    while tokio::time::timeout(Duration::from_millis(50), engine.ended()).await.is_err() {
        assert!(published < FILLED_WITHIN, "the disk does not become full");
        published += EVENTS;
        stand.publish(EVENTS).await;
        stand.collect().await;
    }
    let said = engine.stderr();
    assert_eq!(engine.ended().await, Some(1), "{said}");
    assert!(said.contains("there is no space left for") && said.contains("make room"), "{said}");
    disk.has_room();
    let engine = stand.start();
    engine.ready().await;
    engine.stop().await;
    if first.exists() {
        std::fs::remove_dir_all(&first).expect("no store");
    }
    copy(&store, &first);
    stand.flags.clear();
}

/// A small disk.
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
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.directory).output();
        let mount = mount.expect("the command `mount`");
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
    }
}
