//! Generated events for demonstrations, tests and benchmarks: varied, valid, and **the same bytes
//! for a seed, for ever**. A test holds the hash of the bytes; changing the output for a seed is a
//! breaking change.
//!
//! So all values are made with integers, by a random number generator that is part of this crate.
//! This crate refuses clocks and I/O, and has no dependencies. Customers return, refunds refer to
//! purchases, cards have a life cycle, and all known irregularities of the source's messages occur.

mod random;

mod customer;
mod world;

mod bodies;
mod goods;
mod line;
mod purchases;

use random::Random;
use world::World;

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

/// Settings of the generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Maximum number of customers.
    pub customers: u32,
    /// Time of the first event, in Unix milliseconds, before the year 9000.
    pub start_ms: i64,
    /// Whether each event is inside the envelope of a file's line: routing key, message id, time.
    pub envelope: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { customers: 10_000, start_ms: START_MS, envelope: false }
    }
}

/// An endless iterator of events, one JSON object without a line break each. The first events do
/// not depend on how many are taken.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    world: World,
    envelope: bool,
    body: Vec<u8>,
}

impl Generator {
    #[must_use]
    pub fn new(seed: u64, options: &Options) -> Generator {
        Generator {
            random: Random::new(seed),
            world: World::new(options.customers, options.start_ms),
            envelope: options.envelope,
            body: Vec::with_capacity(4096),
        }
    }

    /// Appends the next event to `line`, without a line break and without an allocation of its own.
    pub fn append_next(&mut self, line: &mut Vec<u8>) {
        let happening = self.world.next(&mut self.random);
        if !self.envelope {
            return bodies::write(&happening, self.world.now_ms, &mut self.random, line);
        }
        self.body.clear();
        bodies::write(&happening, self.world.now_ms, &mut self.random, &mut self.body);
        bodies::wrap(&happening, &self.body, self.world.now_ms, &mut self.random, line);
    }
}

impl Iterator for Generator {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::with_capacity(2048);
        self.append_next(&mut line);
        Some(line)
    }
}

#[cfg(test)]
mod tests;
