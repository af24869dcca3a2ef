#!/usr/bin/env bash
# Everything that must pass before a change lands, cheapest first.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  local name=$1 begun=$SECONDS
  printf '\n== %s\n' "$name"
  shift
  "$@"
  printf -- '-- %s: %s s\n' "$name" $((SECONDS - begun))
}

step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "unit and simulator tests" cargo test --workspace --locked
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
if cargo +nightly --version >/dev/null 2>&1; then
  step "fuzz targets" cargo +nightly check --manifest-path fuzz/Cargo.toml --locked --quiet
else
  echo "fuzz targets need the nightly toolchain: not checked here"
fi
step "TypeScript SDK" bash -c 'cd sdk/js && npm run --silent check && npm run --silent test && npm run --silent docs'
step "web phone" bash -c 'cd ui && npm run --silent check && npm run --silent build && git diff --exit-code --stat -- dist'
# The tests above have built the gateway; a build of its own would be one with other features of its dependencies.
step "end to end with real peers" bash -c 'cd e2e && npm test --silent'
