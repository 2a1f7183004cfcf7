#!/usr/bin/env bash
# Check that memory does not grow over two million generated events from standard input.
# HAILER_SOAK_EVENTS=N sets another number of events.
set -euo pipefail
cd "$(dirname "$0")/.."
"${CARGO:-cargo}" test --release --package hailer-tests --test all -- \
  --ignored --exact --nocapture soak::memory_does_not_grow_with_a_long_standard_input
