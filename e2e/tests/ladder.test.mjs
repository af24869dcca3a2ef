// What is kept of calls: read by the interface, the command line, tshark, a collector of HEP and people at a page.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { bestToneShare, readUlaw } from "../lib/audio.mjs";
import { Browser } from "../lib/browser.mjs";
import { Kamailio } from "../lib/kamailio.mjs";
import { PROGRAM_LIMIT } from "../lib/limits.mjs";
import { operator } from "../lib/operator.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, stage, USERS } from "../lib/world.mjs";

const TOKEN = "a-token-of-thirty-two-characters";
const it = stage({});
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "crosspoint-ladder-"));
  const [port, sip, chunks] = [await freePort(), await freePort(), await freePort()];
  it.collectors = [await Kamailio.collector({ port: sip }), await Kamailio.collector({ port: chunks, chunks: true })];
  // Each reads a part of every packet.
  const splitter = createSocket("udp4", (packet) => [sip, chunks].forEach((to) => splitter.send(packet, to, "127.0.0.1")));
  it.splitter = splitter;
  await new Promise((resolve) => splitter.bind(port, "127.0.0.1", resolve));
  await writeFile(join(folder, "admin.token"), TOKEN);
  const config = `[admin]\ntoken_file = "${join(folder, "admin.token")}"\n[hep]\naddress = "127.0.0.1:${port}"\ncapture_id = 4711\n`;
  Object.assign(it, stage({ config }), { collectors: it.collectors, splitter });
  await it.setUp();
});
after(async () => {
  await it.takeDown();
  it.splitter?.close();
  for (const collector of it.collectors ?? []) await collector.stop();
  await rm(folder, { recursive: true, force: true });
});

const ask = (path) => operator(it.gateway, TOKEN, "GET", path);

/** The last call to this number, when it is over. */
async function lastCall(to) {
  return until(`the call to ${to} is over`, async () => {
    const { items } = await ask("/calls?past=true");
    return items.find((call) => call.to === to && (call.ended !== null || call.refused_early));
  });
}

test("a call between a browser and a phone is there message by message", async () => {
  const [alice, bob] = [await it.browser("jssip", "alice"), await it.phone("bob", { answer: "auto" })];
  await alice.do("dial", "bob");
  await alice.event("confirmed");
  await alice.hears(440);
  const [{ gcid }] = (await ask("/calls")).items;
  const captured = (name, packets) => until(`${packets} packets are captured`, async () => {
    const all = await frames(gcid, name);
    return all.filter((frame) => frame.p_type).length >= packets && all;
  });
  it.plain = await captured("plain.pcap", 20);
  const begun = await operator(it.gateway, TOKEN, "POST", `/calls/${gcid}/capture`, { action: "start", packets: 100 });
  assert.deepEqual(begun, { status: 200, packets: 100 });
  await captured("whole.pcap", 220);
  await alice.do("hangUp");
  await alice.event("ended");
  await it.gateway.idle();
  assert.equal((await lastCall("bob")).gcid, gcid);
  // The figures of both sides' media come a moment after the end.
  const figures = /^opus: |^PCM/;
  const ladder = await until("the figures of both sides are told", async () => {
    const all = await ask(`/calls/${gcid}/ladder`);
    return all.entries.filter(({ title }) => figures.test(title)).length >= 2 && all;
  });
  assert.equal(ladder.explanation.verdict, "completed", JSON.stringify(ladder.explanation));
  assert.match(ladder.explanation.headline, /^Hung up by the caller after /);
  const titles = ladder.entries.map((entry) => entry.title);
  const inOrder = ["INVITE + SDP", "200 OK (INVITE) + SDP", /^ICE pair udp /, "DTLS certificate is right", /^SRTP keys, /, "BYE", figures];
  let at = -1;
  for (const wanted of inOrder) {
    const found = titles.findIndex((title, index) => index > at && (wanted instanceof RegExp ? wanted.test(title) : title === wanted));
    assert.notEqual(found, -1, `${wanted} is missing after ${at} of ${titles.join(", ")}`);
    at = found;
  }
  const text = JSON.stringify(ladder);
  assert.doesNotMatch(text, /a=ice-pwd:[^*]/);
  assert.doesNotMatch(text, /response=\\"[0-9a-f]/);
  it.completed = gcid;
  // Browsers and phones say in their descriptions which source is theirs.
  const source = (party) => ladder.entries.find((entry) => entry.party === party && entry.direction === "in" && /a=ssrc:/.test(entry.text))?.text.match(/a=ssrc:(\d+)/)[1];
  it.sources = [0, 1].map((party) => `0x${Number(source(party)).toString(16).padStart(8, "0")}`);

  const drawn = it.gateway.cli(["call", "show", gcid.slice(0, 20), "--width", "120"]);
  assert.match(drawn, /COMPLETED: Hung up by the caller/);
  assert.match(drawn, /alice +Crosspoint +bob/);
  assert.match(drawn, /\d\.\d{3} .*- INVITE \+ SDP -+>\|/);
  assert.match(it.gateway.cli(["call", "list"]), new RegExp(`${gcid} +alice -> bob`));
});

const FIELDS = ["frame.protocols", "frame.cap_len", "frame.len", "ip.src", "udp.srcport", "udp.dstport", "sip.Method", "sip.Status-Code", "sip.CSeq", "rtp.p_type", "rtp.ssrc", "rtp.seq", "rtp.payload", "_ws.malformed"];

/** What tshark makes of a call's capture file, without being told anything. */
async function frames(gcid, name) {
  const file = join(folder, name);
  const bytes = await new Promise((resolve, reject) => {
    const options = { host: it.gateway.host, port: it.gateway.port("https"), path: `/api/v1/calls/${gcid}/ladder?format=pcap`, headers: { authorization: `Bearer ${TOKEN}` }, rejectUnauthorized: false };
    get(options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part)).on("end", () => resolve(Buffer.concat(parts)));
    }).on("error", reject);
  });
  await writeFile(file, bytes);
  const run = spawnSync("tshark", ["-r", file, "-T", "fields", ...FIELDS.flatMap((field) => ["-e", field])], { encoding: "utf8", timeout: PROGRAM_LIMIT });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout.trimEnd().split("\n").map((line) => Object.fromEntries(line.split("\t").map((value, at) => [FIELDS[at].split(".").pop(), value])));
}

test("tshark reads the capture as SIP and RTP", async () => {
  const all = await frames(it.completed, "call.pcap");
  const told = () => all.map((frame) => JSON.stringify(frame)).join("\n");
  assert.deepEqual(all.filter((frame) => frame.malformed), [], told());
  const sip = all.filter((frame) => /:sip\b/.test(frame.protocols));
  const methods = new Set(sip.map((frame) => frame.Method));
  for (const method of ["INVITE", "ACK", "BYE"]) assert.ok(methods.has(method), told());
  assert.ok(sip.every((frame) => (frame.Method || frame["Status-Code"]) && frame.CSeq), told());
  assert.ok(all.every((frame) => /:(sip|sap|rtp|rtcp)\b/.test(frame.protocols)), told());

  const of = (some, ssrc) => some.filter((frame) => frame.ssrc === ssrc && frame.p_type);
  const [browser, phone] = it.sources;
  assert.notEqual(browser, phone);
  // The phone has nothing but PCMU, and the browser speaks it too.
  for (const ssrc of [browser, phone]) {
    assert.equal(of(all, ssrc).length, 110, told());
    assert.ok(of(all, ssrc).every((frame) => frame.p_type === "0"), told());
  }
  // Nobody asked for more than headers at first.
  for (const [ssrc, some] of [[browser, of(it.plain, browser)], [phone, of(it.plain, phone)]]) {
    assert.equal(some.length, 10, `${ssrc} of ${told()}`);
    assert.ok(some.every((frame) => Number(frame.cap_len) < Number(frame.len) && !/[0-9a-f]{2}/.test(frame.payload)), JSON.stringify(some));
  }
  for (const [ssrc, tone] of [[browser, BROWSER_TONE], [phone, PHONE_TONE]]) {
    const whole = of(all, ssrc).slice(10);
    assert.ok(whole.every((frame) => frame.cap_len === "200" && frame.len === "200"), told());
    const samples = readUlaw(Buffer.from(whole.map((frame) => frame.payload.replaceAll(":", "")).join(""), "hex"));
    const heard = bestToneShare({ samples, rate: 8000 }, tone);
    assert.ok(heard.share > 0.9, `${tone} Hz: ${JSON.stringify(heard)}`);
  }
});

test("a collector reads what it is told, under the call's id", async () => {
  const [sip, chunks] = it.collectors.map((collector) => () => collector.log.join("\n"));
  await until("Kamailio has read the call", () => sip().includes("read request BYE "));
  assert.match(sip(), /read response 200 INVITE /);
  const told = (protocol) => `collected version=3 protocol=${protocol} agent=4711 call=${it.completed} from=`;
  await until("Kamailio has read around it", () => chunks().includes(told(1)) && chunks().includes(told(100)));
  assert.equal(await it.gateway.metric("crosspoint_hep_packets_total", { outcome: "dropped" }), 0);
});

/** The page's part for calls, alone, which asks the gateway through us. */
async function page() {
  const ui = fileURLToPath(new URL("../../ui/src/console/", import.meta.url));
  const entry = `
    import { render, h } from "preact";
    import { Ladder } from "./ladder";
    const api = { url: (path) => "/api" + path, get: async (path) => (await fetch("/api" + path)).json() };
    render(h(Ladder, { gcid: location.hash.slice(1), api }), document.body);`;
  const bundle = await build({
    stdin: { contents: entry, resolveDir: ui, loader: "tsx" }, bundle: true, write: false, format: "esm", jsx: "automatic", jsxImportSource: "preact",
  });
  const style = await build({ entryPoints: [join(ui, "console.css")], bundle: true, write: false });
  const server = createServer(async (request, response) => {
    const asked = request.url.startsWith("/api/") ? JSON.stringify(await ask(request.url.slice(4))) : undefined;
    const html = `<!doctype html><style>${style.outputFiles[0].text}</style><body><script type="module">${bundle.outputFiles[0].text}</script>`;
    response.setHeader("content-type", asked ? "application/json" : "text/html").end(asked ?? html);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  it.keep({ stop: () => new Promise((resolve) => server.close(resolve)) });
  const tab = await (await it.chromium.instance.newContext()).newPage();
  const errors = [];
  tab.on("pageerror", (error) => errors.push(error.message));
  return { tab, errors, show: (gcid) => tab.goto(`http://127.0.0.1:${server.address().port}/?${gcid}#${gcid}`) };
}

test("refused, silent and cut calls explain themselves on the page", async () => {
  // A browser that is killed says nothing more.
  const doomed = it.keep(await Browser.start({ frequency: BROWSER_TONE }));
  const carol = await doomed.client("jssip", it.gateway, "carol", USERS.carol.password);
  await carol.registered();
  await carol.do("dial", "600");
  await carol.event("confirmed");
  await carol.hears(BROWSER_TONE);
  await doomed.signal("browser", "SIGKILL");

  const alice = await it.browser("jssip", "alice");
  await alice.do("dial", "999");
  await alice.event("failed");
  // sipp takes the call and says nothing.
  const port = await freePort();
  await it.signIn("phone1", port);
  const mute = await it.sipp("uas_answer", "phone1", { local: port });
  await alice.do("dial", "phone1");
  await alice.event("confirmed");
  const silent = async () => (await ask("/calls?past=true")).items.find((call) => call.to === "phone1");
  await until("the silence is noticed", async () => {
    const call = await silent();
    return call && (await ask(`/calls/${call.gcid}/ladder`)).explanation.verdict === "silent";
  });
  await alice.do("hangUp");
  await alice.event("ended");
  await mute.done();

  const { tab, errors, show } = await page();
  await show((await lastCall("999")).gcid);
  await tab.waitForSelector("[data-verdict=refused]");
  const refused = await tab.textContent(".ladder-why");
  assert.match(refused, /nobody and no rule has 999/);
  assert.match(refused, /The rule: /);
  await until("a refusal is drawn", async () => (await tab.locator(".ladder-arrow.failed").count()) >= 1);

  await show((await silent()).gcid);
  await tab.waitForSelector("[data-verdict=silent]");
  assert.match(await tab.textContent(".ladder-why"), /No media ever came from the called side, phone1,.*Audio went one way only/);
  await until("a side's charts are drawn", async () => (await tab.locator(".ladder-charts figure").count()) >= 4);
  await tab.locator(".ladder-row", { hasText: "INVITE + SDP" }).first().click();
  assert.match(await tab.textContent(".ladder-details pre"), /^INVITE sip:phone1@/);

  const cut = await lastCall("600");
  await show(cut.gcid);
  await tab.waitForSelector("[data-verdict=cut]");
  assert.match(await tab.textContent(".ladder-why"), /The call was cut after \d+ s.*: media of a side stopped\./);
  assert.deepEqual(errors, []);
});
