//! Support for the benchmarks of the whole engine: what is measured beside it (a bare client
//! program, a sync of the disk), its events and campaigns, and the machine's figures.

pub(crate) mod bare;
pub(crate) mod campaigns;
pub(crate) mod events;
pub(crate) mod flow;

#[path = "../../../../host/benches/layers/marks.rs"]
mod marks;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hailer_tests::engine::Engine;
pub(crate) use marks::{Against, mark};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The median of an odd number of figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The figure below which this share of the sorted figures lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}

/// All figures, in the order in which they were measured.
pub(crate) fn listed(figures: &[f64], digits: usize) -> String {
    figures.iter().map(|figure| format!("{figure:.digits$}")).collect::<Vec<_>>().join(", ")
}

/// The time to write and sync 4 KiB below a directory, in milliseconds: the median of all syncs
/// within `during`.
pub(crate) fn sync_ms(directory: &Path, during: Duration) -> Outcome<f64> {
    let path = directory.join("sync");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut taken = Vec::new();
    let since = Instant::now();
    while since.elapsed() < during {
        // The offset changes, as it does in a store.
        file.write_all_at(&[taken.len() as u8; 4096], (taken.len() as u64 % 256) * 4096)?;
        let began = Instant::now();
        file.sync_data()?;
        taken.push(began.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(median(taken))
}

/// The resident memory of an engine now, and its maximum so far, in MB.
pub(crate) async fn resident_mb(engine: &Engine) -> Outcome<(f64, f64)> {
    let status = engine.client.status().await?;
    let text = std::fs::read_to_string(format!("/proc/{}/status", status.pid))?;
    let figure = |name: &str| -> Outcome<f64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or_else(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    };
    Ok((figure("VmRSS:")?, figure("VmHWM:")?))
}
