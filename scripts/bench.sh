#!/usr/bin/env bash
# Every benchmark: what each layer of the event path costs, and the whole beside a bare client program. All figures of
# a table come from one run.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --workspace --bins
[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
target=${CARGO_TARGET_DIR:-$PWD/target}
hailer=$target/release/hailer
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
"$hailer" build rules/big-basket --out "$modules" >&2
export HAILER=$hailer MODULE=$modules/big-basket.wasm

for bench in event call store; do
  printf '\n== %s\n' "$bench"
  cargo bench --quiet --package hailer --bench "$bench"
done
printf '\n== throughput and memory\n'
cargo bench --quiet --package hailer-tests --bench throughput
