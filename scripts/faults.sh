#!/usr/bin/env bash
# Run the long form of the fault suite. The last line is its summary, also when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
# A random seed, unless the caller sets one.
export HAILER_FAULTS_SEED=${HAILER_FAULTS_SEED:-$RANDOM$RANDOM} HAILER_FAULTS_SUMMARY=$summary
status=0
"${CARGO:-cargo}" test --package hailer-tests --test all -- \
  --ignored --exact --nocapture faults::the_long_form || status=$?
echo "seed $HAILER_FAULTS_SEED"
cat "$summary"
exit "$status"
