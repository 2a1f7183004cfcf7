//! Resources of machine and process: free bytes of each directory that the engine writes to, the
//! size of the store, and memory.
//!
//! A full disk ends the engine. Nothing is lost then, but an operator should know before. So free
//! bytes are measured every few seconds, and less than `store.free_bytes_min` is reported as an
//! impairment. The engine goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::checks::Finding;
use crate::clock::Millis;
use crate::config::Config;
use crate::health::{Condition, Health};
use crate::metrics;
use crate::store::{self, Statistics, Store};

const ROOM: &str = "disk";
const POLL_EVERY: Duration = Duration::from_secs(5);

/// Measures the resources at intervals.
#[derive(Debug)]
pub(super) struct Resources {
    directories: Vec<(&'static str, PathBuf)>,
    store_directory: Option<PathBuf>,
    store: Arc<dyn Store>,
    free_bytes_min: u64,
    health: Health,
}

impl Resources {
    fn of(config: &Config, store: &Arc<dyn Store>, health: &Health) -> Resources {
        Resources {
            directories: directories(config),
            store_directory: config.store_dir(),
            store: Arc::clone(store),
            free_bytes_min: config.store.free_bytes_min,
            health: health.clone(),
        }
    }

    /// Measures for the first time, so that every metric has a value when the engine answers.
    pub(super) fn begin(
        config: &Config,
        store: &Arc<dyn Store>,
        health: &Health,
        started_ms: Millis,
    ) -> Resources {
        ::metrics::gauge!(metrics::START_TIME).set(started_ms as f64 / 1000.0);
        let resources = Resources::of(config, store, health);
        resources.look();
        resources
    }

    /// Measures again at intervals.
    pub(super) async fn watch(self) {
        let mut looking = self;
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            // Measures on a thread of its own, because a disk that hangs must not block anything
            // else.
            let looked = tokio::task::spawn_blocking(move || {
                looking.look();
                looking
            });
            let Ok(again) = looked.await else { return };
            looking = again;
        }
    }

    fn look(&self) {
        let mut short = Vec::new();
        for (name, directory) in &self.directories {
            let Some(free) = free_bytes(directory) else { continue };
            ::metrics::gauge!(metrics::FREE_BYTES, "directory" => *name).set(free as f64);
            if free < self.free_bytes_min {
                short.push(format!("`{}`", directory.display()));
            }
        }
        if let Some(bytes) = resident_bytes() {
            ::metrics::gauge!(metrics::RESIDENT_BYTES).set(bytes as f64);
        }
        let store = self.store_directory.as_deref().map_or(0, store::file_bytes);
        ::metrics::gauge!(metrics::STORE_BYTES).set(store as f64);
        let Statistics { memory_bytes, tables, runs, blocks, blocks_read, spared } =
            self.store.statistics();
        ::metrics::gauge!(metrics::STORE_MEMORY_BYTES).set(memory_bytes as f64);
        ::metrics::gauge!(metrics::STORE_TABLES).set(tables as f64);
        ::metrics::gauge!(metrics::STORE_RUNS).set(runs as f64);
        ::metrics::counter!(metrics::STORE_BLOCKS_TOTAL).absolute(blocks);
        ::metrics::counter!(metrics::STORE_BLOCKS_READ_TOTAL).absolute(blocks_read);
        ::metrics::counter!(metrics::STORE_LOOKS_SPARED_TOTAL).absolute(spared);
        let condition = match &*short {
            [] => Condition::Ready,
            _ => Condition::Impaired(format!(
                "less than {} bytes (store.free_bytes_min) are free in {}; free some space before \
                    the disk is full",
                self.free_bytes_min,
                short.join(", ")
            )),
        };
        self.health.report(ROOM, condition);
    }
}

/// The directories that an engine writes to, with their names in metrics.
fn directories(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let mut directories = vec![("data", config.data.clone())];
    directories.extend(config.store_dir().map(|store| ("store", store)));
    directories.extend(config.record.dir.clone().map(|record| ("record", record)));
    directories
}

/// Checks the free space of the directories that an engine writes to.
#[must_use]
pub fn check_disk(config: &Config) -> Vec<Finding> {
    let needs = |name: &str| match name {
        "data" => "compiled modules take up to 512 MiB".to_owned(),
        "store" => format!(
            "the log takes 32 MiB, the journal up to {} bytes (store.journal_bytes_max), and \
             merges need room beside the tables",
            config.store.journal_bytes_max
        ),
        _ => format!("recordings take up to {} bytes (record.bytes_max)", config.record.bytes_max),
    };
    let finding = |(name, directory): (&str, PathBuf)| {
        let subject = format!("disk of {name} {}", directory.display());
        let Some(free) = free_bytes(&directory) else {
            let detail = "the free space cannot be measured".to_owned();
            return Finding::problem(
                subject,
                detail,
                "give this user read access to the directory",
            );
        };
        let detail = format!("{free} bytes are free; {}", needs(name));
        let min = config.store.free_bytes_min;
        if free < min {
            let next_step =
                format!("free some space: less than {min} bytes are free (store.free_bytes_min)");
            return Finding::problem(subject, detail, next_step);
        }
        Finding::ok(subject, detail)
    };
    directories(config).into_iter().map(finding).collect()
}

/// Bytes that this user may still write on the file system of a directory, or of its nearest
/// existing parent.
fn free_bytes(directory: &Path) -> Option<u64> {
    let absolute = std::path::absolute(directory).ok()?;
    let found = absolute.ancestors().find(|path| path.is_dir())?;
    let system = rustix::fs::statvfs(found).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// The resident memory of this process, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Changes, Identity, Sizes, Snapshot, StoreError, Upkeep};

    fn config(free_bytes_min: u64) -> Config {
        let mut config = Config { data: "/nowhere/that/is".into(), ..Config::default() };
        config.store.free_bytes_min = free_bytes_min;
        config
    }

    #[test]
    fn a_disk_with_little_space_is_an_impairment_and_the_engine_stays_ready() {
        for (free_bytes_min, is_short) in [(0, false), (u64::MAX, true)] {
            let config = config(free_bytes_min);
            let findings = check_disk(&config);
            assert!(findings[0].detail.contains("bytes are free"), "{findings:?}");
            assert_eq!(findings[0].next_step.is_some(), is_short, "{findings:?}");
            let health = Health::default();
            let store: Arc<dyn Store> = Arc::new(store::MemoryStore::new("test"));
            Resources::of(&config, &store, &health).look();
            assert_eq!(health.complaints().contains_key(ROOM), is_short);
            assert!(health.problems().is_empty());
        }
    }

    /// A store in which each statistic has a different number.
    #[derive(Debug)]
    struct Standing(store::MemoryStore);

    impl Store for Standing {
        fn identity(&self) -> &Identity {
            self.0.identity()
        }

        fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
            self.0.snapshot()
        }

        fn commit(&self, changes: Changes) -> Result<(), StoreError> {
            self.0.commit(changes)
        }

        fn set_upkeep(&self, upkeep: Box<dyn Upkeep>) {
            self.0.set_upkeep(upkeep);
        }

        fn sizes(&self) -> Result<Sizes, StoreError> {
            self.0.sizes()
        }

        fn statistics(&self) -> Statistics {
            Statistics { memory_bytes: 1, tables: 2, runs: 3, blocks: 4, blocks_read: 5, spared: 6 }
        }

        fn backup(&self, to: &Path) -> Result<(), StoreError> {
            self.0.backup(to)
        }
    }

    #[test]
    fn each_metric_shows_its_own_statistic_of_the_store() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let store: Arc<dyn Store> = Arc::new(Standing(store::MemoryStore::new("test")));
        let resources = Resources::of(&config(0), &store, &Health::default());
        ::metrics::with_local_recorder(&recorder, || resources.look());
        let shown = recorder.handle().render();
        for (metric, value) in [
            ("hailer_store_memory_bytes", 1),
            ("hailer_store_tables", 2),
            ("hailer_store_runs", 3),
            ("hailer_store_blocks_total", 4),
            ("hailer_store_blocks_read_total", 5),
            ("hailer_store_looks_spared_total", 6),
        ] {
            assert!(shown.contains(&format!("\n{metric} {value}\n")), "{metric}: {shown}");
        }
    }

    #[test]
    fn the_resident_memory_of_this_process_is_measured() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
