#!/usr/bin/env bash
# Builds a binary by counts of what it does in everyday work (profile-guided optimisation and BOLT,
# decision 23) and prints where it is: scripts/tuned.sh. A call costs a third less processor time with it.
#
# A binary that counts is built, the bench's training is done with it, and the binary is built anew; then
# BOLT has that one count, too, and puts together what runs together, which no compiler knows before it has
# linked. Half an hour on two cores. For packages: scripts/package.sh --binary "$(scripts/tuned.sh)".
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools >&2
out=$PWD/target/tuned
counts=$out/counts
rm -rf "$counts"
mkdir -p "$counts"

# Both builds have to be alike but for the counts: functions are found by names that say how all was built.
# One unit for each crate, as in the bench. BOLT moves what it knows the relocations of.
build() { # build FLAG FOLDER
  RUSTFLAGS="${RUSTFLAGS:-} -Clink-arg=-Wl,--emit-relocs $1" CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_TARGET_DIR=$2 \
    cargo build --release --locked --target "$host" --bin crosspoint >&2
}

build "-Cprofile-generate=$counts" "$out/counting"
train() { # train BINARY: what the bench has for it, media included
  CROSSPOINT_BIN=$1 LLVM_PROFILE_FILE=$counts/%p.profraw \
    cargo bench --locked --quiet -p crosspoint-gateway --bench side_by_side -- train >&2
}
# The gateway counts most. What `crosspoint user add` counts beside it is hashing of passwords.
largest() { # largest KIND
  find "$counts" -name "*.$1" -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2
}

train "$out/counting/$host/release/crosspoint"
"$tools/llvm-profdata" merge --sparse --output="$out/crosspoint.profdata" "$(largest profraw)"
build "-Cprofile-use=$out/crosspoint.profdata" "$out"
built=$out/$host/release/crosspoint

# By its own path: it looks for its library beside itself.
bolt=$(compgen -G '/usr/lib/llvm-*/bin/llvm-bolt' | sort -V | tail -n 1) || true
if [ -z "$bolt" ]; then
  echo "BOLT is missing (Debian: bolt-19): a call costs a sixth more than it could" >&2
  echo "$built"
  exit
fi
"$bolt" "$built" -instrument -instrumentation-file="$counts/bolt" -instrumentation-file-append-pid \
  -o "$out/counting/bolt" >&2
train "$out/counting/bolt"
"$bolt" "$built" -data="$(largest fdata)" -reorder-blocks=ext-tsp -reorder-functions=cdsort \
  -split-functions -split-all-cold -split-eh -icf=1 -o "$out/crosspoint" >&2
# By a tool that knows what BOLT makes: binutils' strip leaves a program that crashes.
"$tools/llvm-strip" --strip-unneeded "$out/crosspoint"
echo "$out/crosspoint"
