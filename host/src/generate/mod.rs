//! Made-up events, for demonstrations, tests and benchmarks: varied, valid, and the same for a seed **to the byte, for
//! ever**. A test holds the bytes' hash; changing what comes out for a seed is a breaking change.
//!
//! So everything is made with integers, from a generator of random numbers that is written out here. No clock is asked.
//! Customers come back, refunds refer to purchases, cards live as cards do, and the source's traps are all in it.

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

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most customers that there will be.
    pub customers: u32,
    /// When the first event happens, in milliseconds since 1970-01-01 UTC, before the year 9000.
    pub start_ms: i64,
    /// Each event in the envelope that a line of a file may have: routing key, message id, time.
    pub envelope: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { customers: 10_000, start_ms: START_MS, envelope: false }
    }
}

/// Makes events without end, one JSON object each, without a line break. The first events do not depend on how many
/// are taken.
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

    /// Appends the next event to `line`, without a line break and without taking memory of its own.
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
