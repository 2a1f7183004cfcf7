#!/usr/bin/env bash
# Runs all tests, and prints the ten longest at the end. Arguments go to `cargo test`.
#
# Most tests wait for brokers and engines, so more of them run at a time than there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO:=cargo}" "${RUST_TEST_THREADS:=$((2 * $(nproc)))}"
export RUST_TEST_THREADS

# Stable Rust does not print how long a test took, so it is computed. A test binary starts its tests
# in the order of their names, RUST_TEST_THREADS at a time. So the i-th test starts when
# i - RUST_TEST_THREADS tests have ended. Documentation tests are compiled together, so only their
# total is known.
# shellcheck disable=SC2016
times='
function add(name, seconds) { count++; names[count] = name; times[count] = seconds }
function end_of_binary(   i, j, name) {
  if (ended == expected) {
    for (i = 2; i <= ended; i++) {  # insertion sort by name
      name = sorted[i]
      for (j = i - 1; j > 0 && sorted[j] > name; j--) sorted[j + 1] = sorted[j]
      sorted[j + 1] = name
    }
    for (i = 1; i <= ended; i++)
      add(binary sorted[i], end[sorted[i]] - (i > threads ? ends[i - threads] : began))
  }
}
{ now = $1; sub(/^[^ ]+ /, ""); gsub(/\033\[[0-9;]*m/, "") }
/^ +Running .* \(/ {
  binary = $NF; gsub(/^.*\/|-[0-9a-f]+\)$/, "", binary); binary = binary "::"
}
/^ +Doc-tests / { binary = ""; crate = $2 }
/^running [0-9]+ tests?$/ { began = now; expected = $2; ended = 0 }
# trybuild prints such lines for files, too.
/^test .* \.\.\. (ok|FAILED|ignored.*)$/ && $2 !~ /\// {
  name = $2; ended++; sorted[ended] = name; ends[ended] = now; end[name] = now
}
/^test result: / {
  if (binary != "") end_of_binary()
  else if (expected > 0) add("documentation tests of " crate, now - began)
}
END {
  printf "\nThe ten longest tests, in seconds:\n"
  for (k = 1; k <= 10 && k <= count; k++) {
    longest = 0
    for (i = 1; i <= count; i++)
      if (!(i in shown) && (!longest || times[i] > times[longest])) longest = i
    shown[longest] = 1
    printf "%7.1f  %s\n", times[longest], names[longest]
  }
}'

began=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
$CARGO test --workspace "$@" 2>&1 |
  while IFS= read -r line; do
    printf '%s\n' "$line"
    printf '%s %s\n' "$EPOCHREALTIME" "$line" >&3
  done 3>"$log" || status=$?
LC_ALL=C awk -v threads="$RUST_TEST_THREADS" "$times" "$log"
echo "all tests took $((SECONDS - began)) s"
exit $status
