//! Directories: listing and copying their files with holes, and the kinds of files of the stores.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

/// The files below a directory with their sizes, by their relative paths.
pub(crate) fn list(directory: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else if let Ok(path) = entry.path().strip_prefix(directory) {
                found.insert(path.to_owned(), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// Copies a directory; holes stay holes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            copy_file(&entry.path(), &target)?
        }
    }
    Ok(())
}

pub(crate) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (File::open(from)?, File::create(to)?);
    let bytes = source.metadata()?.len();
    target.set_len(bytes)?;
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    while let Ok(data) = seek(&source, SeekFrom::Data(at)) {
        let end = seek(&source, SeekFrom::Hole(data))?;
        at = data;
        while at < end {
            let part = buffer.len().min((end - at) as usize);
            source.read_exact_at(&mut buffer[..part], at)?;
            // Pages of zeros become holes, so that copies need little space.
            for (number, page) in buffer[..part].chunks(4096).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    target.write_all_at(page, at + 4096 * number as u64)?;
                }
            }
            at += part as u64;
        }
    }
    Ok(())
}

/// The kind of a file, by its name.
pub(crate) fn kind(path: &Path) -> &'static str {
    let text = path.to_string_lossy();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name {
        "hailer.end" | "hailer.wal.end" => "end file",
        "current" | "CURRENT" => "current",
        "version" => "marker",
        _ if text.contains("tables/") || name.ends_with(".sst") => "table",
        _ if name.ends_with(".jnl")
            || name.starts_with("log-")
            || name == "hailer.wal"
            || name.ends_with(".log") =>
        {
            "log"
        }
        _ if name.starts_with("MANIFEST") || (name.starts_with('v') && name.len() > 1) => {
            "version list"
        }
        _ => "other",
    }
}

/// The unused tables and version lists of lsm-tree, which earlier versions left. Damage to them
/// proves nothing.
pub(crate) fn unused(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let listed = list(directory)?;
    let mut unused = BTreeSet::new();
    for current in listed.keys().filter(|file| file.ends_with("current")) {
        let Some(tree) = current.parent() else { continue };
        let number = fs::read(directory.join(current))?
            .first_chunk()
            .map_or(0, |number| u64::from_le_bytes(*number));
        let version = tree.join(format!("v{number}"));
        let used: BTreeSet<_> = tables(&directory.join(&version)).unwrap_or_default();
        let is_unused = |file: &&PathBuf| match kind(file) {
            "version list" => file.parent() == Some(tree) && **file != version,
            "table" => {
                file.starts_with(tree) && !used.iter().any(|id| file.ends_with(id.to_string()))
            }
            _ => false,
        };
        unused.extend(listed.keys().filter(is_unused).cloned());
    }
    Ok(unused)
}

/// Reads the ids of the tables in a version list. The list has the runs of each level, and the
/// tables of each run. A table has an id, a kind of checksum, a checksum and a sequence number.
fn tables(version: &Path) -> Option<BTreeSet<u64>> {
    let mut section =
        sfa::Reader::new(version).ok()?.toc().section(b"tables")?.reader(version).ok()?;
    let mut bytes = Vec::new();
    section.read_to_end(&mut bytes).ok()?;
    let mut at = 0;
    let mut number = |bytes_of: usize| {
        let taken = bytes.get(at..at + bytes_of)?;
        at += bytes_of;
        Some(taken.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    };
    let mut ids = BTreeSet::new();
    for _ in 0..number(1)? {
        for _ in 0..number(1)? {
            for _ in 0..number(4)? {
                ids.insert(number(8)?);
                let _ = (number(1)?, number(8)?, number(8)?, number(8)?);
            }
        }
    }
    Some(ids)
}

/// The named parts of a file. Each part is damaged separately.
pub(crate) fn parts(path: &Path, bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut parts = Vec::new();
    if matches!(kind(path), "table" | "version list")
        && let Ok(reader) = sfa::Reader::new(path)
    {
        let mut end = 0;
        for section in reader.toc().iter() {
            let range = section.pos() as usize..(section.pos() + section.len()) as usize;
            end = end.max(range.end);
            parts.push((String::from_utf8_lossy(section.name()).into_owned(), range));
        }
        parts.push(("contents and trailer".to_owned(), end..bytes.len()));
    } else if used > 4096 {
        let third = used / 3;
        let tail = used.saturating_sub(2048).max(3 * third - third / 4);
        parts.extend([
            ("head".to_owned(), 0..64),
            ("first third".to_owned(), 64..third),
            ("second third".to_owned(), third..2 * third),
            ("last third".to_owned(), 2 * third..tail),
            ("end".to_owned(), tail..used),
        ]);
        if bytes.len() > used {
            parts.push(("zeros behind the end".to_owned(), used..bytes.len()));
        }
    } else {
        parts.push(("whole".to_owned(), 0..bytes.len()));
    }
    parts.retain(|(_, range)| !range.is_empty() && range.end <= bytes.len());
    parts
}
