#!/usr/bin/env bash
# The long form of the fault suite. What it came to stands in the last line, also when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
# A seed that nobody has tried, unless one is asked for.
export HAILER_FAULTS_SEED=${HAILER_FAULTS_SEED:-$RANDOM$RANDOM} HAILER_FAULTS_SUMMARY=$summary
status=0
"${CARGO:-cargo}" test --package hailer-tests --test all -- --ignored --exact --nocapture faults::the_long_form || status=$?
echo "seed $HAILER_FAULTS_SEED"
cat "$summary"
exit "$status"
