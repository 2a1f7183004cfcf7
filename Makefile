# Everything a newcomer, a developer and CI call. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
HAILER := $(CARGO) run --quiet --package hailer --
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := event outcome manifest campaign scenarios

.PHONY: help setup demo rules test faults soak store-damage lint bench fuzz

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what a build and the tests need (toolchain, wasm target; RabbitMQ for the tests)
	@scripts/setup.sh build test

demo: ## Run the engine on real and generated events, and swap a campaign while it runs
	@scripts/setup.sh build
	@scripts/demo.sh

rules: ## Build every example campaign into target/rules.d, ready to run
	@scripts/setup.sh build
	@scripts/rules.sh target/rules.d

test: ## Run all tests, against a RabbitMQ that they start themselves
	@scripts/setup.sh build test
	$(CARGO) test --workspace

faults: ## Kill and torment the engine for some twenty minutes; HAILER_FAULTS_SEED=N for another seed
	@scripts/setup.sh build test
	@scripts/faults.sh

soak: ## Run two million events through standard input and see that memory stays flat; HAILER_SOAK_EVENTS=N for another number
	@scripts/setup.sh build
	@scripts/soak.sh

store-damage: ## Damage the files of each store that Hailer could use, and see what it loses; STORE_DAMAGE="--quick --seed N" for one minute, or another seed
	@scripts/setup.sh build
	@scripts/store-damage.sh $(STORE_DAMAGE)

lint: ## Check formatting, lints, documentation, and dependencies if cargo-deny is there
	@scripts/setup.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	cd tests/store-damage && CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-../../target}/store-damage $(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo-deny is not installed: 'cargo install cargo-deny' to check licences and advisories too"; fi

bench: ## Measure speed and memory, as ratios against something measured in the same run
	@scripts/setup.sh build test
	@scripts/bench.sh

fuzz: ## Run each fuzz target for a minute (FUZZ_SECONDS)
	@scripts/setup.sh build fuzz
	@for target in $(FUZZ_TARGETS); do \
		echo "== $$target"; \
		corpus=host/fuzz/corpus/$$target; mkdir -p $$corpus; seeds=; dictionary=; \
		case $$target in \
			event) seeds=guest-sdk/abi/events; dictionary=-dict=host/fuzz/json.dict ;; \
			manifest) dictionary=-dict=host/fuzz/json.dict ;; \
			scenarios) for file in rules/*/scenarios.toml; do cp $$file $$corpus/$$(basename $$(dirname $$file)).toml; done ;; \
			campaign) for file in rules/*/campaign.toml; do cp $$file $$corpus/$$(basename $$(dirname $$file)).toml; done ;; \
		esac; \
		$(CARGO) +nightly fuzz run --fuzz-dir host/fuzz --sanitizer none $$target $$corpus $$seeds -- \
			$$dictionary -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done
