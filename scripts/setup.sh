#!/usr/bin/env bash
# Installs what is missing, and nothing else: `setup.sh build` for building, `test` for RabbitMQ, `fuzz` for fuzzing.
# Says what it does; does nothing, quickly, when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

need_build() {
  command -v rustup >/dev/null || {
    echo "rustup is missing: install it from https://rustup.rs, then run this again" >&2
    exit 1
  }
  if ! rustup run "$toolchain" rustc --version >/dev/null 2>&1; then
    echo "setup: installing Rust $toolchain"
    rustup toolchain install "$toolchain" --profile minimal
  fi
  local part
  for part in rustfmt clippy; do
    rustup component list --toolchain "$toolchain" --installed | grep -q "^$part" ||
      rustup component add --toolchain "$toolchain" "$part"
  done
  rustup target list --toolchain "$toolchain" --installed | grep -qx wasm32-unknown-unknown || {
    echo "setup: adding the target wasm32-unknown-unknown"
    rustup target add --toolchain "$toolchain" wasm32-unknown-unknown
  }
  command -v cc >/dev/null || install_packages gcc libc6-dev
}

need_test() {
  local missing=()
  compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null || missing+=(rabbitmq-server)
  command -v openssl >/dev/null || missing+=(openssl)
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

need_fuzz() {
  rustup run nightly rustc --version >/dev/null 2>&1 || {
    echo "setup: installing nightly Rust, which fuzzing needs"
    rustup toolchain install nightly --profile minimal
  }
  cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
  command -v c++ >/dev/null || install_packages g++
}

install_packages() {
  command -v apt-get >/dev/null || {
    echo "please install: $* (this machine has no apt-get)" >&2
    exit 1
  }
  echo "setup: installing $*"
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  # A package that starts its service would take RabbitMQ's own port: the tests start theirs.
  "${sudo[@]}" apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

for part in "$@"; do
  "need_$part"
done
