#!/usr/bin/env bash
# Test how Hailer's store and its alternatives react to damaged files, kills, losses of power and a
# full disk. Takes some ten minutes, or one minute with --quick.
# Flags: --seed N, --only CONTENDER,… and --must-pass CONTENDER, which fails the run if that
# contender loses anything in silence.
# STORE_DAMAGE_ROCKSDB=1 includes RocksDB, whose build takes long and needs libclang.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -z "${CARGO_TARGET_DIR:-}" ] || CARGO_TARGET_DIR=$(realpath -m "$CARGO_TARGET_DIR")
target=${CARGO_TARGET_DIR:-$PWD/target}/store-damage
cd tests/store-damage
export CARGO_TARGET_DIR=$target
"${CARGO:-cargo}" build --locked ${STORE_DAMAGE_ROCKSDB:+--features rocksdb}
# The harness has tests of its own: it must notice rows that are missing.
"${CARGO:-cargo}" test --quiet --locked ${STORE_DAMAGE_ROCKSDB:+--features rocksdb}
cc -O2 -Wall -shared -fPIC -o "$target/recorder.so" src/recorder.c -ldl -lpthread

# Use /dev/shm if it is writable: a run syncs some hundred thousand times.
room=/dev/shm
[ -w "$room" ] || room=${TMPDIR:-/tmp}
directory=$(mktemp -d "$room/store-damage.XXXXXX")
trap 'rm -rf "$directory"' EXIT
"$target/debug/hailer-store-damage" run \
  --directory "$directory" --recorder "$target/recorder.so" "$@"
