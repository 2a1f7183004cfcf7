#!/usr/bin/env bash
# Install the missing tools: `setup.sh build` for a build, `test` for RabbitMQ, `fuzz` for fuzzing.
# Prints each installation, and is quick and silent if nothing is missing.
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
  # Read the whole list first: under pipefail, `… | grep -q` fails if grep ends before the writer.
  local part components targets
  components=$(rustup component list --toolchain "$toolchain" --installed)
  for part in rustfmt clippy; do
    [[ $'\n'$components == *$'\n'"$part"* ]] ||
      rustup component add --toolchain "$toolchain" "$part"
  done
  targets=$(rustup target list --toolchain "$toolchain" --installed)
  [[ $'\n'$targets$'\n' == *$'\n'wasm32-unknown-unknown$'\n'* ]] || {
    echo "setup: adding the target wasm32-unknown-unknown"
    rustup target add --toolchain "$toolchain" wasm32-unknown-unknown
  }
  command -v cc >/dev/null || install_packages gcc libc6-dev
  # jemalloc's build calls make.
  command -v make >/dev/null || install_packages make
}

need_test() {
  local missing=()
  compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server' >/dev/null ||
    missing+=(rabbitmq-server)
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
  "${sudo[@]}" apt-get update -qq
  without_services "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Runs a command that installs packages, and keeps the packages from starting their services.
# RabbitMQ's service would take the default port; the tests start nodes of their own. Debian asks
# policy-rc.d before it starts a service. An existing policy-rc.d is left as it is.
without_services() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    # Set before the file exists, so that an interruption always removes it.
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
  fi
  "$@"
)

for part in "$@"; do
  "need_$part"
done
