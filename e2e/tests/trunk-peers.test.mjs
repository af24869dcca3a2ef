// Trunks as peers: sign-in at a registrar, failover while a destination dies, TLS with an authority of one's own, and a
// PBX that signs in with us.
import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { certificates } from "../lib/certificates.mjs";
import { Kamailio } from "../lib/kamailio.mjs";
import { operator } from "../lib/operator.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS, world } from "../lib/world.mjs";

const [first, second, provider, secure, foreign, site, mutual] = await Promise.all(Array.from({ length: 7 }, () => freePort()));
const TOKEN = "a-token-of-an-operator";
const PASSWORD = "secret-of-provider";
const SITE = "secret-of-the-site";
Object.assign(process.env, { CROSSPOINT_E2E_TOKEN: TOKEN, CROSSPOINT_E2E_PROVIDER: PASSWORD, CROSSPOINT_E2E_SITE: SITE });
USERS.dave = { password: PASSWORD };

const file = certificates();
// Where three of our trunks sign in: it calls a client over the connection that this one opened, and opens none.
const registrar = await Kamailio.registrar({ port: provider, password: PASSWORD, tls: { certificate: file("ours.pem"), key: file("ours.key") } });
after(() => registrar.stop());

const it = world({
  config: `
[admin]
token_env = "CROSSPOINT_E2E_TOKEN"

[tls]
certificate = "${file("ours.pem")}"
key = "${file("ours.key")}"

[[trunk]]
name = "two"
host = "127.0.0.1"
destinations = ["127.0.0.1:${first};priority=1", "127.0.0.1:${second};priority=2"]
options_interval = "5s"
failover_after = "1s"
prefixes = ["1"]

[[trunk]]
name = "provider"
preset = "carrier-register"
host = "127.0.0.1"
port = ${provider}
username = "carol"
password_env = "CROSSPOINT_E2E_PROVIDER"
prefixes = ["2"]
match = "^2(.*)$"
replace = "$1"

[[trunk]]
name = "secure"
host = "127.0.0.1"
port = ${secure}
transport = "tls"
tls_ca = "${file("ours-ca.pem")}"
prefixes = ["3"]

[[trunk]]
name = "foreign"
host = "127.0.0.1"
port = ${foreign}
transport = "tls"
tls_ca = "${file("ours-ca.pem")}"
prefixes = ["4"]

[[trunk]]
name = "mutual"
host = "127.0.0.1"
port = ${mutual}
transport = "tls"
tls_ca = "${file("ours-ca.pem")}"
tls_certificate = "${file("ours.pem")}"
tls_key = "${file("ours.key")}"
certificate_names = ["pbx.test"]
prefixes = ["6"]

${["tcp", "tls"].map((transport, at) => `
[[trunk]]
name = "over ${transport}"
preset = "carrier-register"
host = "127.0.0.1"
port = ${provider + at}
transport = "${transport}"
tls_ca = "${file("ours-ca.pem")}"
username = "${transport === "tcp" ? "bob" : "alice"}"
password_env = "CROSSPOINT_E2E_PROVIDER"
prefixes = ["${8 + at}"]
`).join("").replaceAll("over ", "over-")}
[[trunk]]
name = "site"
accept_username = "site7"
accept_password_env = "CROSSPOINT_E2E_SITE"
accept_registration = true
prefixes = ["5"]
`,
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const trunk = async (name) => (await operator(it.gateway, TOKEN, "GET", "/trunks")).items.find((t) => t.name === name);

async function dial(number) {
  const alice = await it.browser("jssip", "alice");
  await alice.do("dial", number);
  return alice;
}

test("a call goes on to the second destination when the first is killed, and comes back with it", it.telling(async () => {
  const answers = async (port) => {
    const phone = await freePort();
    const kamailio = it.keep(await Kamailio.start({ port, gateway: it.gateway.port("udp"), phone }));
    return { kamailio, phone };
  };
  const [a, b] = [await answers(first), await answers(second)];
  await until("both are up", async () => (await trunk("two")).destinations.every((d) => d.state === "up"), { seconds: 20 });
  const far = await it.sipp("uas_answer", "alice", { user: "1", local: b.phone, echo: true, keys: { target: "alice" } });
  const alice = await it.browser("jssip", "alice");
  // It is the call that finds the first gone: OPTIONS would need several.
  await a.kamailio.stop();
  await alice.do("dial", "1234");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  const { failovers } = await trunk("two");
  await until("the first is found to be down", async () => (await trunk("two")).destinations[0].state === "down", { seconds: 30 });
  assert.equal(failovers, 1);
  await until("the log says so", () => /a trunk's destination is down.*unreachable/.test(it.gateway.log.join("\n")));
}));

test("we sign in at a registrar, and calls go both ways over the account", it.telling(async () => {
  await until("we are signed in", async () => (await trunk("provider")).registration.state === "registered", { seconds: 60 });
  const phone = await it.phone("dave", { gateway: { domain: "127.0.0.1", port: () => provider }, answer: "manual" });
  const alice = await dial("2dave");
  const call = await phone.event("CALL_INCOMING");
  assert.match(call.peeruri, /sip:carol@127\.0\.0\.1/);
  phone.command("accept");
  await alice.event("confirmed");
  await alice.hears(PHONE_TONE);
  await phone.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await phone.event("CALL_CLOSED");
  assert.equal(await it.gateway.metric("crosspoint_trunk_registered", { trunk: "provider" }), 1);
  await alice.leave();
  // The same over the connections that our sign-ins by TCP and TLS have opened: there is no other way in.
  for (const [name, user] of [["over-tcp", "bob"], ["over-tls", "alice"]]) {
    await until(`${name} is signed in`, async () => (await trunk(name)).registration.state === "registered", { seconds: 60 });
    const page = await it.browser("jssip", user);
    phone.dial(user);
    assert.equal((await page.event("incoming")).from, "dave", name);
    await page.do("answer");
    await page.hears(PHONE_TONE);
    await page.do("hangUp");
    await phone.event("CALL_CLOSED");
    assert.equal((await it.gateway.lastRecord()).trunk, name);
    await page.leave();
  }
}));

test("a peer is reached over TLS when our authority signed its certificate, and not when another did", it.telling(async () => {
  const phone = await freePort();
  it.keep(await Kamailio.secure({ port: secure, phone, certificate: file("ours.pem"), key: file("ours.key") }));
  const far = await it.sipp("uas_answer", "alice", { user: "1", local: phone, echo: true, keys: { target: "alice" } });
  const alice = await dial("3123");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  await alice.leave();
  it.keep(await Kamailio.secure({ port: foreign, phone: await freePort(), certificate: file("other.pem"), key: file("other.key") }));
  const bob = await it.browser("jssip", "bob");
  await bob.do("dial", "4123");
  // A trunk that does not let us in is a failure of its network, not of a person.
  assert.equal((await bob.event("failed")).status, 502);
}));

test("with a peer that wants certificates, calls go both ways when each has one, and not without ours", it.telling(async () => {
  const phone = await freePort();
  const certificate = { certificate: file("ours.pem"), key: file("ours.key"), ca: file("ours-ca.pem") };
  const kamailio = it.keep(await Kamailio.secure({ port: mutual, phone, gateway: it.gateway.port("tls"), ...certificate }));
  const far = await it.sipp("uas_answer", "alice", { user: "1", local: phone, echo: true, keys: { target: "alice" } });
  const alice = await dial("6123");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  const caller = await it.sipp("uac_trunk_call", "alice", { user: "+49301234", local: phone, port: kamailio.udp, echo: true, keys: { target: "alice" } });
  await alice.event("incoming");
  await alice.do("answer");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await caller.done();
  await it.gateway.lastRecord();
  assert.deepEqual(it.gateway.records().slice(0, 2).map((record) => record.trunk), ["mutual", "mutual"]);
  // Where we have none to show, the peer ends the connection.
  it.keep(await Kamailio.secure({ port: foreign, phone, ...certificate }));
  await alice.do("dial", "4123");
  assert.equal((await alice.event("failed")).status, 502);
}));

test("a PBX signs its trunk in with us, and calls go where it is and come from it", it.telling(async () => {
  assert.equal((await trunk("site")).accepted_registration, "unregistered");
  const alice = await it.browser("jssip", "alice");
  await alice.do("dial", "5123");
  assert.equal((await alice.event("failed")).status, 503);
  // No user of ours: it would go before the trunk.
  USERS.site7 = { password: SITE };
  await it.signIn("site7", site);
  assert.equal((await trunk("site")).accepted_registration, "registered");
  const far = await it.sipp("uas_answer", "alice", { user: "5123", local: site, echo: true, keys: { target: "alice" } });
  await alice.do("dial", "5123");
  await alice.event("confirmed");
  await alice.hears(BROWSER_TONE);
  await alice.do("hangUp");
  await far.done();
  const invite = (await far.received()).find((m) => m.line.startsWith("INVITE"));
  assert.equal(invite.line, `INVITE sip:5123@127.0.0.1:${site};transport=UDP SIP/2.0`);
  // Nothing of the browser's side is seen here (topology hiding).
  const text = (await far.received()).map((m) => m.text).join("\n");
  assert.doesNotMatch(text, /\.invalid|JsSIP|WSS|\/ws/);
}));
