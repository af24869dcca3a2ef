#!/usr/bin/env bash
# Builds a binary by counts of what it does in everyday work (profile-guided optimisation, decision 23)
# and prints where it is: scripts/tuned.sh. A call costs a fifth less processor time with it.
#
# A binary that counts is built, the bench's training is done with it, and then the binary is built
# anew: half an hour on two cores. For packages: scripts/package.sh --binary "$(scripts/tuned.sh)".
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || rustup component add llvm-tools >&2
out=$PWD/target/tuned
counts=$out/counts
rm -rf "$counts"
mkdir -p "$counts"

# Both builds have to be alike but for the counts: functions are found by names that say how all was built.
# One unit for each crate, as in the bench.
build() { # build FLAG FOLDER
  RUSTFLAGS="${RUSTFLAGS:-} $1" CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_TARGET_DIR=$2 \
    cargo build --release --locked --target "$host" --bin crosspoint >&2
}

build "-Cprofile-generate=$counts" "$out/counting"
CROSSPOINT_BIN=$out/counting/$host/release/crosspoint LLVM_PROFILE_FILE=$counts/%p.profraw \
  cargo bench --locked --quiet -p crosspoint-gateway --bench side_by_side -- train >&2
# The gateway counts most. What `crosspoint user add` counts beside it is hashing of passwords.
gateway=$(find "$counts" -name '*.profraw' -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
"$profdata" merge --sparse --output="$out/crosspoint.profdata" "$gateway"
build "-Cprofile-use=$out/crosspoint.profdata" "$out"
echo "$out/$host/release/crosspoint"
