#!/usr/bin/env bash
# Installs what the machine lacks: `build` for the gateway itself, `test` for its tests too,
# `bench` for its benches, `tuned` for scripts/tuned.sh, `interop` for the peers of interop/.
# Uses Debian's and npm's packages. Safe to run again: it installs only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-build}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

need=()
want() { # want COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || need+=("$2")
}

want_file() { # want_file PACKAGE FILE: for what has no command of its own
  compgen -G "$2" >/dev/null || need+=("$1")
}

want cc gcc
want cmake cmake
want make make
if [ "$what" = test ] || [ "$what" = interop ]; then
  want chromium chromium
  want sipp sip-tester
  want baresip baresip
  want /usr/sbin/kamailio kamailio
  want node nodejs
  want npm npm
  want ps procps
  want openssl openssl
  want ip iproute2
  want /usr/sbin/nft nftables
  want rtpengine rtpengine-daemon
  want python3 python3
  want man man-db
  want tshark tshark
  want_file python3-venv '/usr/lib/python3*/ensurepip/__init__.py'
  want_file kamailio-tls-modules '/usr/lib/*/kamailio/modules/tls.so'
  want_file kamailio-websocket-modules '/usr/lib/*/kamailio/modules/websocket.so'
  want pebble pebble
  want_file postgresql '/usr/lib/postgresql/*/bin/initdb'
  want psql postgresql-client
  want_file baresip-ffmpeg '/usr/lib/baresip/modules/avcodec.so'
fi

if [ "$what" = interop ]; then
  want linphonec linphone-cli
  want twinkle-console twinkle-console
  want pulseaudio pulseaudio
  want pactl pulseaudio-utils
  want_file libasound2-plugins '/usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so'
fi

if [ "$what" = bench ]; then
  want /usr/sbin/kamailio kamailio
  want rtpengine rtpengine-daemon
  want sipp sip-tester
  want taskset util-linux
  want ip iproute2
fi

if [ "$what" = tuned ]; then
  want taskset util-linux
fi

install() { # install PACKAGE ...
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "please install: $*" >&2
    exit 1
  fi
  echo "installing $*"
  # Services that come with these packages are not ours to start.
  policy=/usr/sbin/policy-rc.d
  placed=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    placed=1
  fi
  as_root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  [ -z "$placed" ] || as_root rm -f "$policy"
}

[ ${#need[@]} -eq 0 ] || install "${need[@]}"

# Of one version of LLVM or another; without it tuned.sh leaves a step out.
if [ "$what" = tuned ] && ! compgen -G '/usr/lib/llvm-*/bin/llvm-bolt' >/dev/null && command -v apt-cache >/dev/null 2>&1; then
  as_root apt-get update -qq
  bolt=$(apt-cache search --names-only '^bolt-[0-9]+$' | cut -d' ' -f1 | sort -V | tail -n 1)
  [ -z "$bolt" ] || install "$bolt"
fi

if ! command -v cargo >/dev/null 2>&1; then
  echo "please install Rust 1.95 or later: https://www.rust-lang.org/tools/install" >&2
  exit 1
fi

if [ "$what" = interop ]; then
  (cd e2e && npm ci --no-audit --no-fund --silent)
fi

if [ "$what" = test ]; then
  (cd e2e && npm ci --no-audit --no-fund --silent)
  (cd sdk/js && npm ci --no-audit --no-fund --silent)
  (cd ui && npm ci --no-audit --no-fund --silent)
  # Clients of the call API that are not ours.
  [ -x e2e/grpc/.venv/bin/pip ] || python3 -m venv e2e/grpc/.venv
  e2e/grpc/.venv/bin/pip install --quiet --disable-pip-version-check -r e2e/grpc/requirements.txt
fi
