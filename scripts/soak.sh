#!/usr/bin/env bash
# Two million made-up events through standard input, and whether memory grows with them. HAILER_SOAK_EVENTS=N for another number.
set -euo pipefail
cd "$(dirname "$0")/.."
"${CARGO:-cargo}" test --release --package hailer-tests --test all -- --ignored --exact --nocapture soak::memory_does_not_grow_with_a_long_standard_input
