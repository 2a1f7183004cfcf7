//! A campaign is swapped a hundred times in a running engine while events come at a constant rate.
//! Measured: the time from the file's rename to the first communication by it, and the delay that
//! the swaps cause for the events.
//!
//! The module is an example rule that copies of its own functions make 100 kB large. So a child
//! process compiles as much as for a rule with large libraries. Each swap has a different module.

use std::time::{Duration, Instant};

use super::latency::{Rates, latencies};
use crate::measure::campaigns::{self, ANSWERS_ALL};
use crate::measure::{Against, Outcome, listed, mark, median, percentile};
use futures_util::StreamExt;
use hailer_tests::broker::Broker;
use hailer_tests::built;
use hailer_tests::site::{Site, campaign};
use hailer_tests::wiring::Wiring;
use lapin::Consumer;

const SWAPS: usize = 100;
const MODULE_BYTES: usize = 100_000;
const RATES: Rates = Rates { a_second: 500, warm_seconds: 2 };
const SECONDS_WITHOUT: usize = 20;
/// The time from one swap to the next.
const EVERY: Duration = Duration::from_millis(1500);
/// Events continue as long as there are swaps.
const SECONDS_WITH: usize = SWAPS * EVERY.as_millis() as usize / 1000;
/// A swap that takes longer has failed.
const LONG_ENOUGH: Duration = Duration::from_secs(30);
const SWAP_MS_MAX: f64 = 500.0;
const SLOWER_MAX: f64 = 1.5;

pub(crate) async fn run() -> Outcome<()> {
    let broker = Broker::start();
    let wiring = Wiring::new(&broker, "bench").await;
    let watched = "bench.watched";
    wiring.client.queue(watched).await;
    wiring.client.bind(watched, &wiring.exchange, "#").await;
    let mut seen = wiring.client.consume(watched).await;

    let site = campaigns::ten();
    let engine = site.start(&wiring.flags());
    engine.ready().await;
    let module =
        grown(&built::example_module("big-basket"), MODULE_BYTES).ok_or("a module of sections")?;
    println!("a module of {} kB", module.len() / 1000);
    let pass = Instant::now() + Duration::from_secs((RATES.warm_seconds + SECONDS_WITHOUT) as u64);
    let (without, ()) =
        tokio::join!(latencies(&wiring, RATES, SECONDS_WITHOUT), pass_over(&mut seen, pass));
    let without = without?;
    let events = latencies(&wiring, RATES, SECONDS_WITH);
    let both = async { tokio::try_join!(events, swap_often(&site, &module, &mut seen)) };
    let (with, swaps) = both.await.inspect_err(|_| println!("{}", engine.stderr()))?;
    engine.stop().await;

    let all = listed(&[percentile(&swaps, 0.0), percentile(&swaps, 0.99)], 0);
    let beside = format!("of {SWAPS}; least and 99th percentile {all}");
    mark(
        "a swap, until the first event of the new rule",
        median(swaps),
        Against::AtMost(SWAP_MS_MAX),
        " ms",
        &beside,
    );
    let (without, with) = (percentile(&without, 0.99), percentile(&with, 0.99));
    let beside = format!(
        "{with:.1} ms, of {without:.1} ms without; publication to communication at {}/s",
        RATES.a_second
    );
    mark("p99 during swaps", with / without, Against::AtMost(SLOWER_MAX), " ×", &beside);
    Ok(())
}

/// Consumes and ignores messages until `until`.
async fn pass_over(seen: &mut Consumer, until: Instant) {
    let all = async { while seen.next().await.is_some() {} };
    let _ = tokio::time::timeout_at(until.into(), all).await;
}

/// The duration of each swap in milliseconds, in order.
async fn swap_often(site: &Site, module: &[u8], seen: &mut Consumer) -> Outcome<Vec<f64>> {
    let mut taken = Vec::with_capacity(SWAPS);
    let first = Instant::now() + Duration::from_secs(RATES.warm_seconds as u64);
    for number in 0..SWAPS {
        pass_over(seen, first + EVERY * number as u32).await;
        let module = [module, &[0, 7, 4, b'o', b'w', b'n', b':', 0, number as u8]].concat();
        site.put("modules/grown.wasm", module);
        let template = format!("swapped-{number}-");
        let began = Instant::now();
        site.put(
            campaigns::ANSWERS,
            campaign("grown", &format!("{ANSWERS_ALL}\ntemplate = \"{template}\"")),
        );
        tokio::time::timeout(LONG_ENOUGH, comes(&template, seen))
            .await
            .map_err(|_| "the new rule sends nothing")??;
        taken.push(began.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

/// Waits for a communication with this template.
async fn comes(template: &str, seen: &mut Consumer) -> Outcome<()> {
    loop {
        let message = seen.next().await.ok_or("the queue is gone")??;
        if message.data.windows(template.len()).any(|window| window == template.as_bytes()) {
            return Ok(());
        }
    }
}

/// The module with many copies of its own functions, which nothing calls.
fn grown(module: &[u8], bytes: usize) -> Option<Vec<u8>> {
    const FUNCTIONS: u8 = 3;
    const CODE: u8 = 10;
    let (header, mut rest) = module.split_at_checked(8)?;
    let mut sections = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        let (length, after) = number(after)?;
        let (content, after) = after.split_at_checked(length)?;
        sections.push((id, content));
        rest = after;
    }
    let code = sections.iter().find(|(id, _)| *id == CODE)?.1.len();
    let copies = 1 + bytes.saturating_sub(module.len()).div_ceil(code);
    let mut grown = header.to_vec();
    for (id, content) in sections {
        grown.push(id);
        if id != FUNCTIONS && id != CODE {
            write_number(content.len(), &mut grown);
            grown.extend_from_slice(content);
            continue;
        }
        let (count, each) = number(content)?;
        let mut repeated = Vec::new();
        write_number(count * copies, &mut repeated);
        repeated.extend(each.repeat(copies));
        write_number(repeated.len(), &mut grown);
        grown.extend(repeated);
    }
    Some(grown)
}

/// A number in the module's encoding (LEB128), and the bytes after it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (own, rest) = bytes.split_at(length);
    Some((own.iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f)), rest))
}

fn write_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
