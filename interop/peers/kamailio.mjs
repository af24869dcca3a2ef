// Kamailio, as the registrar of a provider, as a proxy in the way of every request, and over TLS; phones behind it.
import assert from "node:assert/strict";
import { Baresip } from "../../e2e/lib/baresip.mjs";
import { Kamailio } from "../../e2e/lib/kamailio.mjs";
import { freePort } from "../../e2e/lib/ports.mjs";
import { until } from "../../e2e/lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS } from "../../e2e/lib/world.mjs";
import { onStage } from "../play.mjs";
import { installed } from "../program.mjs";

const PASSWORD = "secret-of-provider";
/** The tone of a second phone. */
const OTHER_TONE = 700;
let it;
let ports;

const isOurs = () => until("the trunk is registered", async () => (await it.gateway.metric("crosspoint_trunk_registered", { trunk: "provider" })) === 1, { seconds: 60 });

/** We are signed in at the provider, which runs for all plays. */
const provider = isOurs;

/** A phone that is signed in at the provider. */
async function phone(user, frequency = PHONE_TONE) {
  const gateway = { domain: "127.0.0.1", port: () => ports.provider };
  const signedIn = it.keep(await Baresip.start({ gateway, user, password: PASSWORD, frequency }));
  await signedIn.registered();
  return signedIn;
}

async function call(page, target, behind) {
  await page.do("dial", target);
  await behind.event("CALL_INCOMING");
  behind.command("accept");
  await page.event("confirmed");
}

/** A browser in a call with a phone at the provider. */
async function talk() {
  await provider();
  const [alice, dave] = [await it.page("alice"), await phone("dave")];
  await call(alice, "2dave", dave);
  await Promise.all([alice.hears(PHONE_TONE), dave.hears(BROWSER_TONE)]);
  return { alice, dave };
}

/** A proxy between a trunk and whoever is at the port it gives. */
async function proxied(port) {
  const behind = await freePort();
  const kamailio = it.keep(await Kamailio.start({ port, gateway: it.gateway.port("udp"), phone: behind }));
  return { kamailio, behind };
}

const behindIt = (name, local, { keys, ...extra } = {}) => it.sipp(name, "alice", { user: "3", local, echo: true, ...extra, keys: { target: "alice", ...keys } });

const plays = {
  async register() {
    await provider();
    return "we sign in there: 401 with digest, then 200; `crosspoint_trunk_registered` is 1";
  },

  async called() {
    const { alice, dave } = await talk();
    await alice.do("hangUp");
    await dave.event("CALL_CLOSED");
    return "over the account (407 with digest) to a phone behind it: each hears the other's tone";
  },

  async calling() {
    await provider();
    const [carol, dave] = [await it.page("carol"), await phone("dave")];
    dave.dial("carol");
    assert.equal((await carol.event("incoming")).from, "dave");
    await carol.do("answer");
    await Promise.all([carol.hears(PHONE_TONE), dave.hears(BROWSER_TONE)]);
    dave.command("hangup");
    await carol.event("ended");
    return "a phone behind it calls the account, a browser answers: each hears the other's tone";
  },

  async hold() {
    const { alice, dave } = await talk();
    dave.command("hold");
    await alice.event("hold-remote");
    await alice.hearsNothing();
    dave.command("resume");
    await alice.event("unhold-remote");
    await alice.hears(PHONE_TONE);
    await alice.do("hold");
    await alice.event("hold-local");
    await alice.do("unhold");
    await alice.event("unhold-local");
    await alice.hears(PHONE_TONE);
    await alice.do("hangUp");
    await dave.event("CALL_CLOSED");
    return "each side holds and resumes on the proxy's route: silence at the held browser, the phone's tone after each resume";
  },

  async "dtmf-rfc4733"() {
    const { alice, dave } = await talk();
    dave.command("sndcode", "5");
    assert.equal((await alice.event("rtp-digit")).key, "5");
    await alice.do("digit", "8");
    await presses(dave, "8");
    await alice.do("hangUp");
    return "5 from the phone behind it, 8 from the browser, both as RTP events";
  },

  async "dtmf-info"() {
    await provider();
    const [alice, dave] = [await it.page("alice"), await phone("dave")];
    await call(alice, "4dave", dave);
    await alice.hears(PHONE_TONE);
    await alice.do("digit", "8");
    await presses(dave, "8");
    await alice.do("hangUp");
    await dave.event("CALL_CLOSED");
    return "8 from the browser goes through it by INFO to the phone behind it (`dtmf = \"info\"`)";
  },

  async "blind-transfer"() {
    const { alice, dave } = await talk();
    const erin = await phone("erin", OTHER_TONE);
    await alice.do("refer", "2erin");
    await erin.event("CALL_INCOMING");
    erin.command("accept");
    await alice.event("ended");
    await Promise.all([dave.hears(OTHER_TONE), erin.hears(PHONE_TONE)]);
    dave.command("hangup");
    await erin.event("CALL_CLOSED");
    const carol = await it.page("carol");
    await call(alice, "2dave", dave);
    dave.command("transfer", `sip:carol@127.0.0.1:${ports.provider}`);
    await carol.event("incoming");
    await carol.do("answer");
    await Promise.all([alice.hears(BROWSER_TONE), carol.hears(BROWSER_TONE)]);
    await alice.do("hangUp");
    await carol.event("ended");
    return "a browser sends one phone behind it to another: they hear each other; a phone's REFER comes through it and sends the browser to another browser";
  },

  async "attended-transfer"() {
    const { alice, dave } = await talk();
    const erin = await phone("erin", OTHER_TONE);
    await call(alice, "2erin", erin);
    await Promise.all([alice.hears(OTHER_TONE), erin.hears(BROWSER_TONE)]);
    await alice.do("join");
    await alice.event("ended");
    await alice.event("ended");
    await Promise.all([dave.hears(OTHER_TONE), erin.hears(PHONE_TONE)]);
    dave.command("hangup");
    await erin.event("CALL_CLOSED");
    return "a browser joins two phones behind it: each hears the other's tone";
  },

  async "early-media"() {
    const { behind } = await proxied(ports.first);
    const far = await behindIt("uas_early_media", behind, { keys: { early: 3000 } });
    const alice = await it.page("alice");
    await alice.do("dial", "3123");
    await until("183 comes", async () => (await alice.event("progress")) === 183);
    await alice.hears(BROWSER_TONE);
    await alice.event("confirmed");
    await alice.do("hangUp");
    await far.done();
    return "a 183 with a description comes through it: the browser hears its own tone come back before the answer";
  },

  async failover() {
    const [a, b] = [await proxied(ports.first), await proxied(ports.second)];
    const [near, far] = [await behindIt("uas_answer", a.behind), await behindIt("uas_answer", b.behind)];
    const alice = await it.page("alice");
    const talks = async (sipp) => {
      await alice.do("dial", "3123");
      await alice.event("confirmed");
      await alice.hears(BROWSER_TONE);
      await alice.do("hangUp");
      await sipp.done();
    };
    await talks(near);
    process.kill(-a.kamailio.process.pid, "SIGKILL");
    await a.kamailio.exited;
    await talks(far);
    assert.equal(it.gateway.records()[0].trunk, "second");
    return "the first proxy carries a call, is killed, and the next call is heard through the second; the record names `second`";
  },

  async tls() {
    const behind = await freePort();
    const kamailio = it.keep(await Kamailio.secure({
      port: ports.secure, phone: behind, gateway: it.gateway.port("tls"),
      certificate: it.file("ours.pem"), key: it.file("ours.key"), ca: it.file("ours-ca.pem"),
    }));
    const alice = await it.page("alice");
    const far = await behindIt("uas_answer", behind);
    await alice.do("dial", "5123");
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await far.done();
    const caller = await behindIt("uac_trunk_call", behind, { port: kamailio.udp });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await caller.done();
    const [back, out] = it.gateway.records();
    assert.deepEqual([back.trunk, out.trunk], ["secure", "secure"]);
    return "both ways with certificates of a private authority on both sides: it wants ours (`verify_certificate`, `require_certificate`), we want its (`certificate_names`)";
  },

  async "session-refresh"() {
    const { behind, kamailio } = await proxied(ports.first);
    const alice = await it.page("alice");
    const far = await behindIt("uas_is_refreshed", behind, { limit: 90 });
    await alice.do("dial", "3123");
    await alice.event("confirmed");
    await until("we refresh", async () => (await far.received()).filter((m) => m.line.startsWith("INVITE")).length === 2, { seconds: 60 });
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await far.done();
    await kamailio.passes(["gateway INVITE", "gateway ACK", "gateway INVITE", "gateway ACK", "gateway BYE"]);
    return "our re-INVITE after half of 90 s goes on its route to a sipp behind it, and the tone is heard on";
  },

  async "new-address"() {
    const { behind } = await proxied(ports.first);
    const alice = await it.page("alice");
    const moves = await behindIt("uac_moves", behind, { port: ports.first, keys: { hold: 2000 } });
    await alice.event("incoming");
    await alice.do("answer");
    await alice.event("confirmed");
    await alice.hears(BROWSER_TONE);
    await until("it has moved", async () => (await moves.received()).filter((m) => /^CSeq: 2 INVITE/m.test(m.text) && m.line.includes("200")).length === 1);
    await alice.hears(BROWSER_TONE);
    await alice.do("hangUp");
    await moves.done();
    return "a sipp behind it gives another port and another Contact in a re-INVITE: the tone comes back from there, and our BYE goes to the new Contact";
  },
};

const presses = (phone, key) =>
  until(`baresip hears ${key}`, () => phone.events.some((e) => e.type === "CALL_DTMF_START" && e.param === key));

export const peer = {
  name: "Kamailio",
  role: "As a provider's registrar, as a proxy with Record-Route and over mutual TLS; baresip and sipp are the phones behind it.",
  missing: "Debian package `kamailio` is not installed.",
  version: () => installed("kamailio"),
  plays,
  async setUp() {
    const [first, second, registrar, secure] = await Promise.all(Array.from({ length: 4 }, () => freePort()));
    ports = { first, second, provider: registrar, secure };
    process.env.CROSSPOINT_INTEROP_PROVIDER = PASSWORD;
    USERS.dave = USERS.erin = { password: PASSWORD };
    const account = (name, prefix, more) => `
[[trunk]]
name = "${name}"
preset = "carrier-register"
host = "127.0.0.1"
port = ${registrar}
username = "carol"
password_env = "CROSSPOINT_INTEROP_PROVIDER"
match = "^${prefix}([a-z].*)$"
replace = "$1"
prefixes = ["${prefix}"]
${more}`;
    it = await onStage({
      trunks: (file) => `${account("provider", 2, "")}${account("info", 4, 'register = false\ndtmf = "info"')}
${["first", "second"].map((name) => `
[[trunk]]
name = "${name}"
host = "127.0.0.1"
port = ${ports[name]}
prefixes = ["3"]
failover_after = "1s"
`).join("")}
[[trunk]]
name = "secure"
host = "127.0.0.1"
port = ${secure}
transport = "tls"
tls_ca = "${file("ours-ca.pem")}"
tls_certificate = "${file("ours.pem")}"
tls_key = "${file("ours.key")}"
certificate_names = ["pbx.test"]
prefixes = ["5"]
`,
    });
    const provided = await Kamailio.registrar({ port: registrar, password: PASSWORD });
    const { takeDown } = it;
    it.takeDown = () => provided.stop().then(() => takeDown.call(it));
    return it;
  },
};
