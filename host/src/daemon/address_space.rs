//! Whether so many guests fit into the process: each instance of a module reserves addresses far beyond the memory that it uses, and
//! mappings of them. What does not fit is told before an `mmap` fails in the middle of an event.

use crate::engine::{INSTANCE_ADDRESS_BYTES, INSTANCE_MAPPINGS};

/// What a process may address on the usual 64-bit machines.
const ADDRESS_BYTES_MAX: u64 = 1 << 47;
/// What the engine itself needs beside its guests, generously.
const OWN_ADDRESS_BYTES: u64 = 4 << 30;
const OWN_MAPPINGS: u64 = 2000;
const MAPPINGS_SETTING: &str = "/proc/sys/vm/max_map_count";

/// What to do when it is too small.
pub(super) const NEXT_STEP: &str = "lower `shards`, or lift the limit on virtual memory (ulimit -v, LimitAS=) or on \
                                    mappings (sysctl vm.max_map_count)";

/// What this process may reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressSpace {
    bytes_max: u64,
    mappings_max: u64,
}

impl AddressSpace {
    pub(super) fn of_this_process() -> AddressSpace {
        let allowed = rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(u64::MAX);
        let mappings = std::fs::read_to_string(MAPPINGS_SETTING).ok().and_then(|text| text.trim().parse().ok());
        AddressSpace { bytes_max: allowed.min(ADDRESS_BYTES_MAX), mappings_max: mappings.unwrap_or(u64::MAX) }
    }

    /// Whether each shard can have a guest of each campaign, one more to make calls again on, and the owner of the rules two to try a
    /// module with. Either way the sum in words.
    pub(super) fn check(self, shards: usize, campaigns: usize) -> Result<String, String> {
        let instances = (shards as u64).saturating_mul(campaigns as u64 + 1).saturating_add(2);
        let bytes = instances.saturating_mul(INSTANCE_ADDRESS_BYTES).saturating_add(OWN_ADDRESS_BYTES);
        let mappings = instances.saturating_mul(INSTANCE_MAPPINGS).saturating_add(OWN_MAPPINGS);
        let sum = format!(
            "{shards} shards × {campaigns} campaigns reserve {} of at most {} GiB of addresses, and {mappings} of at most {} mappings",
            bytes.div_ceil(1 << 30),
            self.bytes_max >> 30,
            self.mappings_max,
        );
        if bytes <= self.bytes_max && mappings <= self.mappings_max { Ok(sum) } else { Err(sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_mappings_are_reckoned_for_every_shard_and_campaign() {
        let usual = AddressSpace { bytes_max: ADDRESS_BYTES_MAX, mappings_max: 65_530 };
        let sum = usual.check(8, 100).unwrap();
        assert_eq!(
            sum,
            "8 shards × 100 campaigns reserve 3295 of at most 131072 GiB of addresses, and 4430 of at most 65530 mappings"
        );
        assert!(usual.check(16, 1024).is_ok());
        assert!(usual.check(32, 1024).is_err(), "its mappings are too many");
        let roomy = AddressSpace { mappings_max: 1 << 20, ..usual };
        assert!(roomy.check(31, 1000).is_ok());
        assert!(roomy.check(33, 1000).is_err(), "its addresses are too many");
        let tight = AddressSpace { bytes_max: 64 << 30, ..usual };
        assert_eq!((tight.check(4, 2).is_ok(), tight.check(4, 3).is_ok()), (true, false));
    }
}
