#!/usr/bin/env bash
# Check what rustfmt does not: lines of at most 100 columns, and the subjects of commits.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8
columns=100
subject_columns=72
failed=0

# Tables of Markdown and URLs cannot be wrapped. The left-out files are generated, or hold text that
# a test compares to the letter.
lines=$(git ls-files '*.rs' '*.md' '*.sh' '*.toml' Makefile .ci/run \
  ':!rules/*/scenarios.toml' ':!docs/events.md' ':!docs/benchmarks.md' \
  ':!guest-sdk/tests/ui/*' ':!guest-sdk/tests/conditions/corpus.rs' |
  xargs grep -nE "^.{$((columns + 1)),}" | grep -vE '^[^:]*\.md:[0-9]+:( *\||.*https?://)' || true)
if [ -n "$lines" ]; then
  echo "lines of more than $columns columns; wrap them:"
  cut -c 1-160 <<<"$lines"
  failed=1
fi

# Only commits after the last change of this script: older history stays as it is.
start=$(git log -1 --format=%H -- scripts/style.sh)
subjects=$(git log --no-merges --format='%h %s' ${start:+"$start.."} 2>/dev/null |
  awk -v most="$subject_columns" 'length($0) - index($0, " ") > most' || true)
if [ -n "$subjects" ]; then
  echo "commit subjects of more than $subject_columns characters; shorten them:"
  echo "$subjects"
  failed=1
fi
exit $failed
