// Plays every scenario with every peer and writes docs/interop.md. `interop/run PEER.. [--only SCENARIO]` plays some of
// them again: the others stay as they were in the last run of this folder.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Cannot } from "./play.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const scenarios = JSON.parse(readFileSync(path("scenarios.json"), "utf8"));
/** In the order of the grid. */
export const PEERS = ["kamailio", "baresip", "linphone", "twinkle", "sipp", "asterisk", "freeswitch", "opensips", "pjsua"];

const args = process.argv.slice(2);
const only = args.includes("--only") ? args.splice(args.indexOf("--only"), 2)[1] : null;
const wanted = args.length > 0 ? args : PEERS;
const memory = path(".last.json");
const before = existsSync(memory) ? JSON.parse(readFileSync(memory, "utf8")) : {};
const played = {};
const peers = {};

for (const id of PEERS) {
  peers[id] = (await import(`./peers/${id}.mjs`)).peer;
  played[id] = { ...before[id], ...(wanted.includes(id) ? await play(id, peers[id]) : {}) };
  writeFileSync(memory, JSON.stringify({ ...before, ...played }, null, 1));
}
const results = PEERS.map((id) => ({ peer: peers[id], cells: played[id] }));
if (results.every(({ cells }) => scenarios.every((s) => cells[s.id]))) writeFileSync(path("../docs/interop.md"), grid());
const failed = PEERS.flatMap((id) => Object.entries(played[id]).filter(([, c]) => c.verdict === "fail").map(([s]) => `${id}: ${s}`));
console.log(failed.length > 0 ? `failed: ${failed.join(", ")}` : "all that can be played has passed");
process.exit(failed.length > 0 ? 1 : 0);

async function play(id, peer) {
  const about = peer.absent ? null : peer.version();
  const cells = {};
  if (about === null) {
    for (const { id: scenario } of scenarios) cells[scenario] = { verdict: "absent", text: peer.absent ?? peer.missing };
    console.log(`${id}: ${peer.absent ?? peer.missing}`);
    return cells;
  }
  const known = scenarios.map((s) => s.id);
  const strange = Object.keys(peer.plays).filter((s) => !known.includes(s));
  const lacking = known.filter((s) => !peer.plays[s]);
  if (strange.length + lacking.length > 0) throw new Error(`${id}: no scenarios ${strange}; no plays for ${lacking}`);
  let stage = null;
  for (const scenario of known.filter((s) => !only || s === only)) {
    stage ??= await peer.setUp();
    cells[scenario] = await cell(stage, peer.plays[scenario]);
    console.log(`${id}: ${scenario}: ${cells[scenario].verdict}: ${cells[scenario].text}`);
  }
  await stage?.takeDown();
  return cells;
}

async function cell(stage, run) {
  try {
    const text = await stage.telling(run)();
    // What a scenario leaves behind would spoil the next.
    await stage.close();
    await stage.gateway.idle();
    return { verdict: "pass", text };
  } catch (error) {
    await stage.close();
    if (error instanceof Cannot) return { verdict: "cannot", text: error.message.split("\n")[0] };
    console.error(error.stack);
    return { verdict: "fail", text: error.message.split("\n")[0] };
  }
}

function grid() {
  const sign = { pass: "yes", fail: "**fails**", cannot: "–", absent: "not here" };
  const row = (columns) => `| ${columns.join(" | ")} |`;
  const lines = [
    "# Interoperation", "",
    "Written by `make interop`, which plays every scenario with the real program over real sockets, a headless Chromium on the other side (`interop/`).",
    "**yes**: played and checked as the list below says. **–**: the peer cannot. **not here**: the program is not to be had from Debian 12.", "",
    row(["scenario", ...results.map((r) => r.peer.name)]),
    row(["---", ...results.map(() => "---")]),
    ...scenarios.map((s) => row([s.title, ...results.map((r) => sign[r.cells[s.id].verdict])])),
  ];
  for (const { peer, cells } of results) {
    const about = peer.absent ? null : peer.version();
    lines.push("", `## ${peer.name}`, "", about ? `${about}. ${peer.role}` : peer.absent ?? peer.missing);
    if (!about) continue;
    lines.push("", ...scenarios.map((s) => `- **${s.title}** (${sign[cells[s.id].verdict]}): ${cells[s.id].text}`));
  }
  return `${lines.join("\n")}\n`;
}
