#!/usr/bin/env bash
# Build every example campaign, with the policies, into a directory for `hailer run --rules`:
# rules.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
out=${1:-target/rules.d}

"${CARGO:-cargo}" build --quiet --package hailer
hailer=${CARGO_TARGET_DIR:-target}/debug/hailer
mkdir -p "$out/modules"
"$hailer" build rules/*/ --out "$out/modules"
# Modules come before the campaigns that name them, so that an engine that watches the directory
# never sees a campaign without its module.
for campaign in rules/*/campaign.toml; do
  name=$(basename "$(dirname "$campaign")")
  cp "$campaign" "$out/.$name.toml.new"
  mv "$out/.$name.toml.new" "$out/$name.toml"
done
cp rules/policies.toml "$out/.policies.toml.new"
mv "$out/.policies.toml.new" "$out/policies.toml"
echo "built $(ls rules/*/campaign.toml | wc -l) campaigns into $out" >&2
