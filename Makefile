# The project's two commands, and what they are made of.
#
#   make run    build the gateway and run it on embedded defaults
#   make test   install what the tests need, then run every check and test
#   make bench  install the peers, then measure beside them
#   make interop  install the peers, play every scenario with each, and write docs/interop.md
#   make package  build the Debian package, the tarball and the list of what is in them
#   make tuned  build a binary that costs a third less for a call, in half an hour

.PHONY: run test bench interop package tuned setup setup-tests lint unit e2e docs fuzz-build ui

run: setup
	cargo run --release --bin crosspoint -- run

test: setup-tests
	scripts/check.sh

bench:
	scripts/setup.sh bench
	scripts/bench.sh

interop:
	scripts/setup.sh interop
	cargo build --locked --bin crosspoint
	interop/run

package: setup
	scripts/package.sh all

tuned:
	scripts/setup.sh tuned
	scripts/tuned.sh

setup:
	scripts/setup.sh build

setup-tests:
	scripts/setup.sh test

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit:
	cargo test --workspace --locked

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

e2e:
	cargo build --locked --bin crosspoint
	cd e2e && npm test

ui:
	cd ui && npm ci --no-audit --no-fund && npm run check && npm run build

fuzz-build:
	cd fuzz && cargo +nightly build --locked
