#!/usr/bin/env bash
# Measures the gateway beside its peers in one run and prints the table of docs/benchmarks.md.
# Nothing else should be busy on the machine meanwhile; two cores are enough.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin

for program in kamailio rtpengine sipp taskset; do
  command -v "$program" >/dev/null || { echo "$program is missing: scripts/setup.sh bench" >&2; exit 1; }
done
# Built before the table begins, so that it stands in one piece.
cargo bench --locked --no-run --quiet -p crosspoint-sip --bench message
cargo bench --locked --no-run --quiet -p crosspoint-gateway --bench side_by_side
cargo bench --locked --no-run --quiet -p crosspoint-net --bench relay
cargo bench --locked --no-run --quiet -p crosspoint-media --bench transcode

echo "Measured on $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)," \
  "Linux $(uname -r), $(rustc --version | cut -d' ' -f1,2), $(kamailio -v | grep -o 'kamailio [0-9.]*')," \
  "rtpengine $(rtpengine --version 2>&1 | grep -o '[0-9][0-9.]*' | head -1)."
echo
echo "| what | Crosspoint | peer | ratio |"
echo "|---|---:|---:|---:|"
cargo bench --locked --quiet -p crosspoint-sip --bench message
cargo bench --locked --quiet -p crosspoint-gateway --bench side_by_side
# In namespaces of its own; the load gets the core that the servers leave.
echo
taskset -c 1 cargo bench --locked --quiet -p crosspoint-net --bench relay
echo
cargo bench --locked --quiet -p crosspoint-media --bench transcode
