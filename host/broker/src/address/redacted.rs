//! Removes the password from the text of an address, valid or not.

/// The text of an address with `***` in place of its password. Also works if the address is
/// invalid.
#[must_use]
pub fn redacted(text: &str) -> String {
    let Some(authority) = authority_of(text).or_else(|| misspelt_authority_of(text)) else {
        return text.to_owned();
    };
    let Some((credentials, _)) = authority.rsplit_once('@') else { return text.to_owned() };
    let Some((user, password)) = credentials.split_once(':') else { return text.to_owned() };
    if password.is_empty() {
        return text.to_owned();
    }
    text.replacen(credentials, &format!("{user}:***"), 1)
}

/// The authority of a URI: user, password, host and port, after `//`. A password may contain an
/// unescaped `/` or `?`, so the last `@` ends it.
pub(super) fn authority_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let credentials_bytes = rest.rfind('@').map_or(0, |at| at + 1);
    let host_bytes =
        rest[credentials_bytes..].find(['/', '?', '#']).unwrap_or(rest.len() - credentials_bytes);
    Some(&rest[..credentials_bytes + host_bytes])
}

/// The possible authority of an address without `://`. Such an invalid address may still contain a
/// password.
fn misspelt_authority_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("amqps").or_else(|| text.strip_prefix("amqp")).unwrap_or(text);
    (!text.starts_with("file:")).then(|| rest.trim_start_matches([':', '/']))
}
