//! The time zones of campaigns, of scenarios, and of what commands print. They come from the
//! database that is part of the engine.
//!
//! With the machine's own database, the result of one input would differ from machine to machine,
//! and change with an update of the machine. So `TZDIR` and `/usr/share/zoneinfo` are never read
//! here. Names that do not name a place are refused, because they mean something else on each
//! machine.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Names that other databases contain and that are not zones.
const NO_ZONES: [&str; 4] = ["localtime", "posixrules", "Factory", "Etc/Unknown"];

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of a name such as `Europe/Moscow`; `None` if there is no such zone.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || NO_ZONES.iter().any(|no_zone| no_zone.eq_ignore_ascii_case(name)) {
        return None;
    }
    BUNDLED.get(name).ok().filter(|zone| !zone.is_unknown())
}

/// The machine's zone, for times that commands print and read. Its name comes from `TZ` or
/// `/etc/localtime`, its rules from the bundled database. A zone without a name, or with an unknown
/// name, is used as the machine defines it.
pub fn machine() -> TimeZone {
    let named = std::env::var("TZ").ok().and_then(|name| zone(name.trim_start_matches(':')));
    named.unwrap_or_else(|| {
        let system = TimeZone::system();
        system.iana_name().and_then(zone).unwrap_or(system)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_place_or_utc_and_nothing_else() {
        for name in ["Europe/Moscow", "UTC", "Etc/GMT-3", "europe/moscow"] {
            assert!(zone(name).is_some(), "{name}");
        }
        for name in [
            "localtime",
            "posixrules",
            "Factory",
            "Etc/Unknown",
            "LocalTime",
            "FACTORY",
            "etc/unknown",
            "",
            "Mars/Olympus",
            "right/Europe/Moscow",
            "../zone",
        ] {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
