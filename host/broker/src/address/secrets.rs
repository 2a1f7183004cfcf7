//! Reads files with a password or with PEM blocks; refuses files that cannot be such.

use std::io::Read as _;
use std::path::Path;

use super::AddressError;

/// The largest password, certificate or key file that is read, in bytes. A larger file is the wrong
/// file.
pub(super) const SECRET_BYTES_MAX: u64 = 1 << 20;

pub(super) fn read_password(path: &Path) -> Result<String, AddressError> {
    let text = read_bounded("password_file", path)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let reason = "is empty: write the password into it";
        return Err(AddressError::Content { setting: "password_file", path: path.into(), reason });
    }
    Ok(password.to_owned())
}

pub(super) fn read_pem(setting: &'static str, path: &Path) -> Result<String, AddressError> {
    let text = read_bounded(setting, path)?;
    if !text.contains("-----BEGIN ") {
        let reason = "contains no PEM block: convert it with `openssl`";
        return Err(AddressError::Content { setting, path: path.into(), reason });
    }
    Ok(text)
}

fn read_bounded(setting: &'static str, path: &Path) -> Result<String, AddressError> {
    let unreadable = |source| AddressError::File { setting, path: path.into(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    // A truncated certificate bundle could still be valid PEM, so the file is refused.
    if text.len() as u64 > SECRET_BYTES_MAX {
        let reason = "is larger than 1 MiB: name a file with only the password or the PEM blocks";
        return Err(AddressError::Content { setting, path: path.into(), reason });
    }
    // Some editors on Windows write a byte order mark at the start of a file.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
