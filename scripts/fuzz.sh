#!/usr/bin/env bash
# Runs fuzz targets with coverage: scripts/fuzz.sh [SECONDS [TARGET...]].
#
# Half an hour of each target unless told otherwise. Needs the nightly toolchain and cargo-fuzz
# (`cargo install cargo-fuzz`). What is found stays in fuzz/artifacts; make it a test of the
# crate, then mend it. The corpus grows in fuzz/corpus and is not checked in: it begins with
# the messages of our own tests.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-1800}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(cd fuzz && cargo +nightly fuzz list)
fi
# SQLite, which the configuration's crate links, holds some tables twice; no business of ours.
export ASAN_OPTIONS=detect_odr_violation=0

# What a target begins with.
seeds() { # seeds TARGET CORPUS
  local file
  case $1 in
    sip_*) cp crates/sip/tests/data/*.sip "$2" ;;
    sdp) cp crates/sdp/tests/data/*.sdp "$2" ;;
    negotiation)
      # The first byte chooses what is done with the description that follows.
      for file in crates/sdp/tests/data/*.sdp; do
        { printf 3; cat "$file"; } >"$2/$(basename "$file")"
      done
      ;;
    # Everything that the commented file shows, switched on.
    config) sed -E 's/^# (\[|[a-z_]+ = )/\1/' crates/gateway/src/cli/sample.toml >"$2/init.toml" ;;
    shard)
      # From the phone and from the browser: a packet of PCMU, a report, a digit.
      {
        printf '\2\254\200\0\0\1\0\0\0\1\0\0\0\1'; head -c 160 /dev/zero
        printf '\4\34\200\310\0\6\0\0\0\1'; head -c 20 /dev/zero
        printf '\2\20\200\345\0\2\0\0\0\2\0\0\0\1\1\12\0\240'
        printf '\5\0\6\0'
      } >"$2/phone"
      ;;
  esac
}

dictionary() { # dictionary TARGET
  case $1 in
    sip_* | websocket) echo -dict=dictionaries/sip.dict ;;
    sdp | fragment | negotiation) echo -dict=dictionaries/sdp.dict ;;
    config) echo -dict=dictionaries/config.dict ;;
    rtcengine) echo -dict=dictionaries/rtcengine.dict ;;
  esac
}

failed=()
for target in "${targets[@]}"; do
  corpus=corpus/$target
  mkdir -p "fuzz/$corpus"
  seeds "$target" "fuzz/$corpus"
  echo "== $target for $seconds s"
  # shellcheck disable=SC2046 # no dictionary is no word
  (cd fuzz && cargo +nightly fuzz run "$target" "$corpus" -- -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 $(dictionary "$target")) \
    || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "found something: ${failed[*]}" >&2
  exit 1
fi
