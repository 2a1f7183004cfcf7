# The commands for newcomers, developers and CI. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
HAILER := $(CARGO) run --quiet --package hailer --
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := event outcome manifest campaign scenarios

.PHONY: help setup demo rules test faults soak store-damage lint crates bench fuzz

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install the tools for a build (Rust, wasm target) and for the tests (RabbitMQ)
	@scripts/setup.sh build test

demo: ## Show the engine at work on one screen, without a broker
	@scripts/setup.sh build
	@scripts/demo.sh

rules: ## Build every example campaign into target/rules.d
	@scripts/setup.sh build
	@scripts/rules.sh target/rules.d

test: ## Run all tests with private RabbitMQ nodes, and list the ten longest
	@scripts/setup.sh build test
	@CARGO="$(CARGO)" scripts/test.sh

faults: ## Run the long fault suite, some twenty minutes (HAILER_FAULTS_SEED=N)
	@scripts/setup.sh build test
	@scripts/faults.sh

soak: ## Check that memory stays flat over two million events (HAILER_SOAK_EVENTS=N)
	@scripts/setup.sh build
	@scripts/soak.sh

store-damage: ## Damage the store's files and see what it loses (STORE_DAMAGE="--quick")
	@scripts/setup.sh build
	@scripts/store-damage.sh $(STORE_DAMAGE)

lint: ## Check formatting, lints, documentation, and licences if cargo-deny is installed
	@scripts/setup.sh build
	scripts/style.sh
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	cd tests/store-damage && CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-../../target}/store-damage \
		$(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "skipped licences and advisories: to check them, 'cargo install cargo-deny'"; fi

crates: ## Print which crates and modules depend on which, and fail if there is a circle
	$(CARGO) test --quiet --package hailer-tests --test all -- --nocapture crates::

bench: ## Measure speed and memory; both sides of a ratio come from one run
	@scripts/setup.sh build test
	@scripts/bench.sh

fuzz: ## Run each fuzz target for a minute (FUZZ_SECONDS=N)
	@scripts/setup.sh build fuzz
	@for target in $(FUZZ_TARGETS); do \
		echo "== $$target"; \
		corpus=host/fuzz/corpus/$$target; mkdir -p $$corpus; seeds=; dictionary=; \
		case $$target in \
			event) seeds=guest-sdk/abi/events; dictionary=-dict=host/fuzz/json.dict ;; \
			manifest) dictionary=-dict=host/fuzz/json.dict ;; \
			scenarios|campaign) for rule in rules/*/; do \
				cp $$rule$$target.toml $$corpus/$$(basename $$rule).toml; done ;; \
		esac; \
		$(CARGO) +nightly fuzz run --fuzz-dir host/fuzz --sanitizer none $$target $$corpus $$seeds -- \
			$$dictionary -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done
