#!/usr/bin/env bash
# Builds every example campaign into a directory that `hailer run --rules` takes: rules.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
out=${1:-target/rules.d}

cargo build --quiet --package hailer
hailer=${CARGO_TARGET_DIR:-target}/debug/hailer
mkdir -p "$out/modules"
"$hailer" build rules/*/ --out "$out/modules"
# The modules are there before the campaigns that name them: an engine that watches the directory sees whole pairs.
for campaign in rules/*/campaign.toml; do
  name=$(basename "$(dirname "$campaign")")
  cp "$campaign" "$out/.$name.toml.new"
  mv "$out/.$name.toml.new" "$out/$name.toml"
done
echo "built $(ls "$out"/*.toml | wc -l) campaigns into $out" >&2
