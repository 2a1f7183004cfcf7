//! Checks whether the guest instances fit into the process. Each instance reserves far more
//! addresses than the memory it uses, and mappings for them. A lack of either is reported before an
//! `mmap` fails in the middle of an event.

use crate::engine::{INSTANCE_ADDRESS_BYTES, INSTANCE_MAPPINGS};

/// The size of the address space on the usual 64-bit machines, in bytes.
const ADDRESS_BYTES_MAX: u64 = 1 << 47;
/// The address space that the engine needs beside its guests, in bytes; generously.
const OWN_ADDRESS_BYTES: u64 = 4 << 30;
const OWN_MAPPINGS: u64 = 2000;
const MAPPINGS_SETTING: &str = "/proc/sys/vm/max_map_count";

/// The next step when the address space is too small.
pub(super) const NEXT_STEP: &str = "lower `shards` or `limits.instances_max`, or lift the limit on \
                                    virtual memory (ulimit -v, LimitAS=) or on mappings (sysctl \
                                    vm.max_map_count)";

/// The address space that this process may reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressSpace {
    bytes_max: u64,
    mappings_max: u64,
}

impl AddressSpace {
    pub(super) fn of_this_process() -> AddressSpace {
        let allowed =
            rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(u64::MAX);
        let mappings = std::fs::read_to_string(MAPPINGS_SETTING)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        AddressSpace {
            bytes_max: allowed.min(ADDRESS_BYTES_MAX),
            mappings_max: mappings.unwrap_or(u64::MAX),
        }
    }

    /// Checks whether there is room for all instances: one for each campaign on each shard, but at
    /// most `instances_max`; one more on each shard to make calls again on; and two for the owner
    /// of the rules to try a module with. Both results hold the sum as text.
    pub(super) fn check(
        self,
        shards: usize,
        campaigns: usize,
        instances_max: usize,
    ) -> Result<String, String> {
        let of_shard = campaigns.min(instances_max);
        let instances = (shards as u64).saturating_mul(of_shard as u64 + 1).saturating_add(2);
        let bytes =
            instances.saturating_mul(INSTANCE_ADDRESS_BYTES).saturating_add(OWN_ADDRESS_BYTES);
        let mappings = instances.saturating_mul(INSTANCE_MAPPINGS).saturating_add(OWN_MAPPINGS);
        let sum = format!(
            "{shards} shards × {of_shard} instances reserve {} of at most {} GiB of addresses, \
             and {mappings} of at most {} mappings",
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
    fn addresses_and_mappings_are_summed_over_shards_and_campaigns() {
        let usual = AddressSpace { bytes_max: ADDRESS_BYTES_MAX, mappings_max: 65_530 };
        let check = |space: AddressSpace, shards, campaigns| space.check(shards, campaigns, 1024);
        let sum = check(usual, 8, 100).unwrap();
        assert_eq!(
            sum,
            "8 shards × 100 instances reserve 3295 of at most 131072 GiB of addresses, and 4430 \
             of at most 65530 mappings"
        );
        assert!(check(usual, 16, 1024).is_ok());
        assert_eq!(check(usual, 16, 10_000), check(usual, 16, 1024), "no shard has more instances");
        assert!(check(usual, 32, 1024).is_err(), "it needs too many mappings");
        assert!(usual.check(32, 1024, 512).is_ok());
        let roomy = AddressSpace { mappings_max: 1 << 20, ..usual };
        assert!(check(roomy, 31, 1000).is_ok());
        assert!(check(roomy, 33, 1000).is_err(), "it needs too many addresses");
        let tight = AddressSpace { bytes_max: 64 << 30, ..usual };
        assert_eq!((check(tight, 4, 2).is_ok(), check(tight, 4, 3).is_ok()), (true, false));
    }
}
