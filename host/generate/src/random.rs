//! Random numbers: xoshiro256** seeded by SplitMix64 (Blackman and Vigna,
//! <https://prng.di.unimi.it>). The algorithms are written out here, so that no new version of a
//! library changes the output for a seed.

/// A random number generator.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut counter = seed;
        let mut split_mix = || {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Random { state: [split_mix(), split_mix(), split_mix(), split_mix()] }
    }

    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, which is at least 1. The bias is below one in a million for the
    /// bounds used in this crate.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number from `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most - least + 1)
    }

    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }

    /// A rank below `count`; rank 0 is the most likely. Ranks with the same number of binary digits
    /// have the same total probability, which is Zipf's law in integers.
    pub(super) fn rank(&mut self, count: u32) -> u32 {
        let digits = count.ilog2() + 1;
        loop {
            let level = self.below(digits);
            let rank = (1 << level) - 1 + self.below(1 << level);
            if rank < count {
                return rank;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_match_the_published_algorithms() {
        // The first outputs of SplitMix64 for seed 1234567, from its authors' program.
        let random = Random::new(1_234_567);
        assert_eq!(
            random.state[..3],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        // xoshiro256** from the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([random.next(), random.next(), random.next()], [11_520, 0, 1_509_978_240]);
    }

    #[test]
    fn low_ranks_are_more_likely_and_every_rank_occurs() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 100];
        for _ in 0..20_000 {
            seen[random.rank(100) as usize] += 1;
        }
        assert!(seen[0] > 10 * seen[50] && seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
