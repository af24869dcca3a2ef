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
    ng)
      # The first byte says how the stream is cut.
      printf '\7a d7:command4:pingeb {"command":"list"}' >"$2/two"
      # A call, who listens to it, who is played to, and its end; descriptions come from below.
      {
        local sdp=crates/sdp/tests/data/baresip-offer.sdp
        ng() { # ng COOKIE DICTIONARY
          printf '%s d%s7:call-id1:c8:from-tag1:a6:to-tag1:b3:sdp%d:' "$1" "$2" "$(wc -c <"$sdp")"
          cat "$sdp"
          printf e
        }
        printf '\7'
        ng a 7:command5:offer
        ng b 7:command6:answer
        ng c '7:command17:subscribe request5:flagsl3:alle'
        ng d '7:command16:subscribe answer'
        ng e '7:command16:start forwarding10:forward-to6:wss://'
        ng f '7:command7:connect'
        ng g '7:command7:publish'
        ng h 7:command11:unsubscribe
        ng i 7:command5:query
        ng j '7:command9:play DTMF4:code1:5'
        ng k '7:command11:block media'
        ng l '7:command6:delete12:delete delayi0e'
      } >"$2/story"
      for file in crates/sdp/tests/data/*.sdp; do
        {
          printf '\7x d7:command5:offer7:call-id1:c8:from-tag1:a3:sdp%d:' "$(wc -c <"$file")"
          cat "$file"
          printf e
        } >"$2/$(basename "$file")"
      done
      ;;
    negotiation)
      # The first byte chooses what is done with the description that follows.
      for file in crates/sdp/tests/data/*.sdp; do
        { printf 3; cat "$file"; } >"$2/$(basename "$file")"
      done
      ;;
    # Everything that the commented file shows, switched on.
    config) sed -E 's/^# (\[|[a-z_]+ = )/\1/' crates/gateway/src/cli/sample.toml >"$2/init.toml" ;;
    webterminal)
      # Terminals of both users, a call from one, as it is on the wire, one to the other, its
      # answer, a pause, and a stream that breaks and comes back.
      {
        printf '\0\3\0\0\0\0\3\0\14+4799000002'
        printf '\2\0\5\42\0\122\1a'
        printf '\6\0\1\0\6\2\1\0\5\1\0\203\3\0\7\61\0\10\62\0\1\2\0\0\47\0\10\377\0'
      } >"$2/call"
      ;;
    rtcengine)
      # Both users sign in; accounts are connected; a call begins, rings, is taken and ends.
      {
        printf '\0\0\0\0\10\0\3\3\0\4\13\0\3\5\0\6\0\0\3\207\0\3\210\0\7\2\1\0'
        printf '\3\221\0021\43\11\62\0\3\223\0\1\0\0\11\377\0'
      } >"$2/call"
      ;;
    websocket)
      # A handshake, a text frame and a ping from a client (RFC 6455 §5.7).
      printf 'GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n\201\205\67\372\41\75\177\237\115\121\130\211\200\1\2\3\4' >"$2/hello"
      ;;
    rtp) printf '\200\0\0\1\0\0\0\240\0\0\0\7hello' >"$2/word" ;;
    rtcp) printf '\201\310\0\14\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\240\0\0\0\1\0\0\0\240\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0' >"$2/report" ;;
    turn)
      # A permission and a channel for a public peer, then channel data and a packet from it.
      {
        printf '\41\14\0\22\0\10\0\1\56\262\51\32\254\112'
        printf '\51\24\0\14\0\4\100\1\0\0\0\22\0\10\0\1\56\262\51\32\254\112'
        printf '\0\10\100\1\0\4abcd\15\4data\16\0'
      } >"$2/page"
      ;;
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
