//! Time zones of campaigns and scenarios, and of what commands print: those of the database that the engine brings along.
//!
//! The machine's own data would make one input's result differ from machine to machine, and change it with an update of the machine. So `TZDIR` and
//! `/usr/share/zoneinfo` are never read here. Names that mean no place are refused, as they mean something else on each machine.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// What other programs put among the zones.
const NO_ZONES: [&str; 4] = ["localtime", "posixrules", "Factory", "Etc/Unknown"];

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of a name such as `Europe/Moscow`; `None` if there is no such zone.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || NO_ZONES.iter().any(|no_zone| no_zone.eq_ignore_ascii_case(name)) {
        return None;
    }
    BUNDLED.get(name).ok().filter(|zone| !zone.is_unknown())
}

/// The machine's zone, for times that commands print and read: its name is the machine's (`TZ`, or `/etc/localtime`), its rules are the bundled ones. A zone
/// without a name, or with an unknown one, is taken as the machine has it.
pub(crate) fn machine() -> TimeZone {
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
