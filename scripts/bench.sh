#!/usr/bin/env bash
# Every benchmark: what each layer of the event path costs, and the whole beside a bare client program; or those whose names are given. All
# figures of a ratio come from one run. At the end a table of the marks that the design sets, each reached or missed.
set -euo pipefail
cd "$(dirname "$0")/.."

of_host=(event call store)
of_whole=(throughput latency million hundred soak)
wanted=("$@")
is_wanted() { [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

# All of it at once, and by no other choice of packages below: cargo would build the engine again for each.
cargo build --release --workspace --bins --benches
[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
target=${CARGO_TARGET_DIR:-$PWD/target}
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
"$target/release/hailer" build rules/* --out "$modules" >&2
export HAILER_BENCH_RULES=$modules HAILER_MARKS=$modules/marks
: >"$HAILER_MARKS"

for bench in "${of_host[@]}"; do
  is_wanted "$bench" || continue
  printf '\n== %s\n' "$bench"
  cargo bench --quiet --workspace --bench "$bench"
done
whole=()
for bench in "${of_whole[@]}"; do
  ! is_wanted "$bench" || whole+=("$bench")
done
[ ${#whole[@]} -eq 0 ] || cargo bench --quiet --workspace --bench engine -- "${whole[@]}"

printf '\n== marks\n'
{ printf 'mark\tmeasured\tagainst\treached or missed\n'; cat "$HAILER_MARKS"; } | column -t -s "$(printf '\t')" -o ' | '
