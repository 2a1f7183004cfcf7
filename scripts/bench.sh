#!/usr/bin/env bash
# Run every benchmark, or only those that are named: the cost of each layer of an event's path, and
# the whole engine beside a bare client program. Both figures of a ratio come from one run.
# A table at the end lists the marks that the design sets, each reached or missed. A run of all
# benchmarks also writes that table to docs/benchmarks.md.
# `beside` runs only by name: this build and the build of another commit take turns:
#   BENCH_BESIDE=HAILER BENCH_BESIDE_CHECKOUT=DIRECTORY scripts/bench.sh beside
set -euo pipefail
cd "$(dirname "$0")/.."

of_host=(event call scale store replay)
of_whole=(throughput latency backlog swap million many policies soak)
wanted=("$@")
is_wanted() { [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

# Measures Hailer beside other rule engines. They have a workspace of their own, and the rule in the
# form that each sandbox takes.
peers() (
  cd tests/peers
  modules=$target/peers/modules
  export CARGO_TARGET_DIR=$target/peers
  "$target/release/hailer" build rules/big-purchase --out "$modules" >&2
  cargo build --locked --profile guest --target wasm32-unknown-unknown \
    --package hailer-peers-extism --package hailer-peers-plain
  cp "$CARGO_TARGET_DIR"/wasm32-unknown-unknown/guest/hailer_peers_{extism,plain}.wasm "$modules"
  cargo build --locked --release
  BENCH_PEERS=$modules "$CARGO_TARGET_DIR/release/hailer-peers"
)

# One build for everything: with other features or targets, cargo would build the engine again.
# The benches are named because --benches would build every library a second time.
cargo build --release --workspace --bins --bench engine --bench layers
[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
target=${CARGO_TARGET_DIR:-$PWD/target}
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
"$target/release/hailer" build rules/* --out "$modules" >&2
export BENCH_HAILER=$target/release/hailer BENCH_RULES=$modules BENCH_MARKS=$modules/marks
: >"$BENCH_MARKS"

for bench in "${of_host[@]}"; do
  is_wanted "$bench" || continue
  cargo bench --quiet --workspace --bench layers -- "$bench"
done
if is_wanted peers; then
  printf '\n== peers\n'
  peers
fi
whole=()
for bench in "${of_whole[@]}"; do
  ! is_wanted "$bench" || whole+=("$bench")
done
[[ " ${wanted[*]-} " != *" beside "* ]] || whole+=(beside)
[ ${#whole[@]} -eq 0 ] || cargo bench --quiet --workspace --bench engine -- "${whole[@]}"

printf '\n== marks\n'
{ printf 'mark\tmeasured\tagainst\treached or missed\n'; cat "$BENCH_MARKS"; } |
  column -t -s "$(printf '\t')" -o ' | '
[ ${#wanted[@]} -eq 0 ] || exit 0

# Read before the page is written, because the page is tracked and would make the tree dirty.
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
of_cpu() { awk -F ': ' -v name="$1" '$1 ~ "^" name { print $2; exit }' /proc/cpuinfo; }
{
  printf '# Benchmarks\n\n'
  printf '%s\n' \
    'Written by `make bench`. Figures are medians of several rounds. Both sides of a ratio are' \
    'measured in the same run.' ''
  printf -- '- commit %s, %s\n' "$commit" "$(date -u +%F)"
  printf -- '- %s, %s cores, %s GiB of memory, Linux %s\n' "$(of_cpu 'model name')" "$(nproc)" \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$(uname -r)"
  printf -- '- %s; RabbitMQ %s on the same machine\n\n' "$(rustc --version)" \
    "$(dpkg-query -W -f '${Version}' rabbitmq-server 2>/dev/null || echo 'of an unknown version')"
  printf '| mark | measured | against | reached or missed |\n|---|---|---|---|\n'
  sed 's/\t/ | /g; s/^/| /; s/$/ |/' "$BENCH_MARKS"
} >docs/benchmarks.md
printf '\ndocs/benchmarks.md is written\n'
