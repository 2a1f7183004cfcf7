//! Copies directories.

use std::fs;
use std::path::Path;

/// Copies a directory with all its contents; the target may exist already.
///
/// # Panics
/// If a file or a directory cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("an entry");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}
