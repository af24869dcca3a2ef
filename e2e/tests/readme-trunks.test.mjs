// The README's way from nothing to calls both ways with a PBX, word for word: its commands, its configuration, and stand-ins
// (sipp) that do what an Asterisk or 3CX does when it is set up as the README says.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { Browser } from "../lib/browser.mjs";
import { binary, Gateway } from "../lib/gateway.mjs";
import { freePort } from "../lib/ports.mjs";
import { Sipp } from "../lib/sipp.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE } from "../lib/world.mjs";

const README = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const section = README.split("## Calls with your PBX or carrier in five minutes")[1].split("\n## ")[0];
const blocks = [...section.matchAll(/```(toml|ini)\n([^]*?)```/g)].map(([, kind, text]) => ({ kind, text }));
const [asterisk, pjsip, threeCx] = ["toml", "ini", "toml"].map((kind, at) => {
  assert.equal(blocks[at].kind, kind);
  return blocks[at].text;
});
const PASSWORD = "the-password";
const open = [];
let chromium;

before(async () => {
  chromium = await Browser.start({ frequency: BROWSER_TONE });
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});
after(() => chromium.stop());

/** The README's steps: `init`, the section and its password, `check`, `route-test`, `run`. Only addresses are our own. */
async function fromNothing(trunk, text, asked) {
  const folder = await mkdtemp(join(tmpdir(), "crosspoint-readme-"));
  open.push(() => rm(folder, { recursive: true, force: true }));
  const crosspoint = (...args) => {
    const { status, stdout, stderr } = spawnSync(binary, args, { cwd: folder, encoding: "utf8" });
    assert.equal(status, 0, `crosspoint ${args.join(" ")}: ${stdout}${stderr}`);
    return stdout;
  };
  const [alice] = JSON.parse(crosspoint("init", "--json")).users;
  const file = join(folder, "crosspoint.toml");
  const here = (await readFile(file, "utf8"))
    .replace("[media]\n", '[media]\naddresses = ["127.0.0.1"]\nlisten = "127.0.0.1"\n')
    .replace("[http]\n", '[http]\nallowed_origins = ["*"]\n');
  await writeFile(file, `${here}\n${text}`);
  await writeFile(join(folder, /password_file = "(.*)"/.exec(text)[1]), `${PASSWORD}\n`);
  crosspoint("check");
  assert.match(crosspoint("route-test", "--from", "alice", "--to", asked), new RegExp(`=> calls ${asked} over trunk ${trunk}`));
  const gateway = new Gateway(join(folder, "crosspoint-data"), file, "127.0.0.1");
  gateway.more = ["--sip-udp", "--sip-tcp", "--sip-tls", "--https", "--media-browser"].flatMap((flag) => [flag, "127.0.0.1:0"]);
  await gateway.run();
  open.push(() => gateway.stop());
  const page = await chromium.client("jssip", gateway, "alice", alice.password);
  open.push(() => page.close());
  await page.registered();
  return { gateway, page };
}

/**
 * A PBX that answers OPTIONS, at any time. All else goes between the gateway and a scenario, from when `leads` has said where they
 * are. `untilUp` waits until the gateway says that it is up.
 */
async function pbx() {
  const socket = createSocket("udp4");
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  open.push(() => new Promise((resolve) => socket.close(resolve)));
  const { port } = socket.address();
  const heard = new Set();
  let ways = {};
  socket.on("message", (bytes, from) => {
    const text = bytes.toString();
    if (from.port === ways.scenario) return socket.send(bytes, ways.gateway, "127.0.0.1");
    // An answer that was said again has another ACK: a PBX minds it less than sipp.
    if (text.startsWith("ACK ") && heard.size === heard.add(text).size) return;
    if (!text.startsWith("OPTIONS ")) return ways.scenario && socket.send(bytes, ways.scenario, "127.0.0.1");
    const kept = text.split("\r\n").filter((line) => /^(Via|From|Call-ID|CSeq):/i.test(line));
    const [to] = /^To:.*$/im.exec(text);
    socket.send(["SIP/2.0 200 OK", ...kept, `${to};tag=pbx`, "Content-Length: 0", "", ""].join("\r\n"), from.port, from.address);
  });
  const untilUp = async (gateway, trunk) => {
    const up = new RegExp(`destination is up trunk=${trunk} `);
    await until(`${trunk} is up`, () => gateway.log.some((line) => up.test(line)), { seconds: 60 });
  };
  const leads = (gateway, scenario) => (ways = { gateway: gateway.port("udp"), scenario });
  return { port, untilUp, leads };
}

async function sipp(gateway, name, options) {
  const { keys, ...others } = options;
  const scenario = await Sipp.start(name, { port: gateway.port("udp"), echo: true, ...others, keys: { domain: "[remote_ip]", ...keys } });
  open.push(() => scenario.stop());
  return scenario;
}

/** Alice calls the PBX, then somebody there calls her; she hears her own tone come back each time. */
async function bothWays({ page }, called, calling) {
  await page.do("dial", "1234");
  await page.event("confirmed");
  await page.hears(BROWSER_TONE);
  await page.do("hangUp");
  await called.done();
  const caller = await calling();
  assert.equal((await page.event("incoming")).from, "1001");
  await page.do("answer");
  await page.event("confirmed");
  await page.hears(BROWSER_TONE);
  await page.do("hangUp");
  await caller.done();
}

const md5 = (...parts) => createHash("md5").update(parts.join(":")).digest("hex");

test("an Asterisk owner gets calls both ways with what the README says", async () => {
  const answering = await pbx();
  const [port, local] = [answering.port, await freePort()];
  const text = asterisk.replace('host = "192.0.2.20"', `host = "127.0.0.1"\nport = ${port}`);
  assert.notEqual(text, asterisk);
  const it = await fromNothing("asterisk", text, "1234");
  await answering.untilUp(it.gateway, "asterisk");
  answering.leads(it.gateway, local);
  const called = await sipp(it.gateway, "uas_asterisk", { local });
  await bothWays(it, called, () => sipp(it.gateway, "uac_asterisk", { local, port, user: "1001", keys: { target: "alice" } }));
  // The endpoint has an auth section: we are asked, and show what its pjsip.conf has.
  const value = (key) => new RegExp(`^${key} = (.*)$`, "m").exec(pjsip)[1];
  assert.equal(value("password"), PASSWORD);
  assert.equal(/username = "(.*)"/.exec(asterisk)[1], value("username"));
  const invites = await called.requests("INVITE");
  assert.match(invites[0].line, /^INVITE sip:1234@127\.0\.0\.1/);
  const shown = invites[1].header("Authorization");
  const field = (name) => new RegExp(`[ ,]${name}="?([^",]*)`).exec(shown)[1];
  const response = md5(md5(value("username"), "asterisk", PASSWORD), field("nonce"), field("nc"), field("cnonce"), field("qop"), md5("INVITE", field("uri")));
  assert.equal(field("response"), response);
  assert.match(invites[1].header("P-Asserted-Identity"), /^.*<sip:alice@/);
});

test("a 3CX owner gets calls both ways with what the README says", async () => {
  const [port, signing] = [await freePort(), await freePort()];
  const it = await fromNothing("office", threeCx, "1234");
  const register = await sipp(it.gateway, "uac_register", { local: signing, user: "office", password: PASSWORD, keys: { contact_port: port } });
  await register.done();
  const called = await sipp(it.gateway, "uas_answer", { local: port });
  await bothWays(it, called, () => sipp(it.gateway, "uac_3cx", { local: port, user: "1001", password: PASSWORD, keys: { target: "alice" }, extra: ["-au", "office"] }));
});
