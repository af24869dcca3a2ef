// The plays for a desk phone: it signs in with us, calls a browser and is called by it, and is a trunk where that is asked.
import assert from "node:assert/strict";
import { Gateway } from "../e2e/lib/gateway.mjs";
import { Network } from "../e2e/lib/network.mjs";
import { freePort } from "../e2e/lib/ports.mjs";
import { until } from "../e2e/lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS } from "../e2e/lib/world.mjs";
import { cannot, onStage, pagesHear } from "./play.mjs";

/** Of the trunks of these plays: three that lead to the phone itself, and one to a sipp that plays before it answers. */
const ports = async () => {
  const [first, second, early, info] = await Promise.all(Array.from({ length: 4 }, () => freePort()));
  return { first, second, early, info };
};

const trunks = ({ first, second, early, info }) => [
  ["first", first, "71", 'replace = "bob"\nmatch = "^71$"'],
  ["second", second, "71", 'replace = "bob"\nmatch = "^71$"'],
  ["early", early, "72", ""],
  ["info", info, "73", 'replace = "bob"\nmatch = "^73$"\ndtmf = "info"'],
].map(([name, port, prefix, more]) => `
[[trunk]]
name = "${name}"
host = "127.0.0.1"
port = ${port}
prefixes = ["${prefix}"]
failover_after = "1s"
${more}
`).join("");

/**
 * The plays of `phone`: its `start(it, user, options)` gives a party as e2e/lib/party.mjs has them, `lacks` says by
 * scenario why it cannot be played.
 */
export function phonePeer({ start, lacks = {}, ...about }) {
  const own = {};
  const plays = {
    async register() {
      const bob = await start(own.it, "bob");
      await until("one device is signed in", async () => (await own.it.gateway.metric("crosspoint_bindings")) === 1);
      await bob.stop?.();
      return "401 with digest, then 200; `crosspoint_bindings` is 1";
    },

    async called() {
      const [alice, bob] = [await own.it.page("alice"), await start(own.it, "bob")];
      await talk(alice, bob);
      await alice.do("hangUp");
      await bob.ended();
      return "a browser calls it: each hears the other's tone; the browser's BYE ends it";
    },

    async calling() {
      const [alice, bob] = [await own.it.page("alice"), await start(own.it, "bob")];
      await bob.dial("alice");
      await alice.event("incoming");
      await alice.do("answer");
      await bob.up();
      await hearEachOther(alice, bob);
      await bob.hangUp();
      await alice.event("ended");
      return "it calls a browser: each hears the other's tone; its BYE ends it";
    },

    async hold() {
      const [alice, bob] = [await own.it.page("alice"), await start(own.it, "bob")];
      await talk(alice, bob);
      await bob.hold();
      await alice.event("hold-remote");
      if (!about.playsOnHold) await alice.hearsNothing();
      await bob.unhold();
      await alice.event("unhold-remote");
      await alice.hears(PHONE_TONE);
      await alice.do("hold");
      await alice.event("hold-local");
      await bob.isHeld?.();
      await alice.do("unhold");
      await alice.event("unhold-local");
      await alice.hears(PHONE_TONE);
      const how = await hearsOn(bob, BROWSER_TONE);
      await alice.do("hangUp");
      await bob.ended();
      const meanwhile = about.playsOnHold ? "it says sendonly" : "silence";
      return `held by each side in turn: ${meanwhile} at the held browser; after each resume the browser hears it by its tone, it the browser ${how}`;
    },

    async "dtmf-rfc4733"() {
      const [alice, bob] = [await own.it.page("alice"), await start(own.it, "bob")];
      await talk(alice, bob);
      await bob.press("5");
      assert.equal((await alice.event("rtp-digit")).key, "5");
      await alice.do("digit", "8");
      await bob.hearsDigit("8");
      await alice.do("hangUp");
      await bob.ended();
      return "5 from it is an RTP event at the browser, 8 from the browser is one at it";
    },

    async "dtmf-info"() {
      const alice = await own.it.page("alice");
      const bob = await start(own.it, "bob", { local: own.ports.info, dtmf: "info", password: "" });
      await alice.do("dial", "73");
      await bob.rings();
      await bob.answer();
      await alice.event("confirmed");
      await hearEachOther(alice, bob);
      const told = [];
      if (about.sendsInfo) {
        await bob.press("5");
        assert.equal((await alice.event("rtp-digit")).key, "5");
        told.push("5 from it comes by INFO and is an RTP event at the browser");
      }
      await alice.do("digit", "8");
      await bob.hearsDigit("8");
      told.push("8 from the browser reaches it by INFO (`dtmf = \"info\"`)");
      if (!about.sendsInfo) told.push("it sends none itself");
      await alice.do("hangUp");
      await bob.ended();
      return told.join("; ");
    },

    async "blind-transfer"() {
      const [alice, bob, carol] = [await own.it.page("alice"), await start(own.it, "bob"), await own.it.page("carol")];
      await talk(alice, bob);
      await bob.transfer("carol");
      await carol.event("incoming");
      await carol.do("answer");
      await carol.event("confirmed");
      await bob.ended();
      await pagesHear(alice, carol);
      await alice.do("refer", "bob");
      await bob.rings();
      await bob.answer();
      await alice.event("ended");
      await Promise.all([carol.hears(PHONE_TONE), bob.hears({ tone: BROWSER_TONE }, { fresh: true })]);
      await carol.do("hangUp");
      await bob.ended();
      return "its REFER sends one browser to another, a browser's REFER brings the other to it; tones heard both times";
    },

    async "attended-transfer"() {
      const [alice, bob, carol] = [await own.it.page("alice"), await start(own.it, "bob"), await own.it.page("carol")];
      const told = [];
      if (bob.join) {
        await talk(alice, bob);
        if (bob.consult) {
          await bob.consult("carol");
        } else {
          await bob.hold();
          await bob.dial("carol");
        }
        await carol.event("incoming");
        await carol.do("answer");
        await carol.event("confirmed");
        await carol.hears(PHONE_TONE);
        await bob.join();
        await pagesHear(alice, carol);
        await Promise.all([bob.ended(), bob.ended()]);
        await alice.do("hangUp");
        await carol.event("ended");
        told.push("it joins two browsers by REFER with Replaces");
      }
      await carol.do("dial", "alice");
      await alice.event("incoming");
      await alice.do("answer");
      await alice.event("confirmed");
      await alice.do("hold");
      await alice.do("dial", "bob");
      await bob.rings();
      await bob.answer();
      await alice.event("confirmed");
      await bob.hears({ tone: BROWSER_TONE }, { fresh: true });
      await alice.do("join");
      await Promise.all([carol.hears(PHONE_TONE), bob.hears({ tone: BROWSER_TONE }, { fresh: true })]);
      await carol.do("hangUp");
      await bob.ended();
      told.push("a browser joins another browser with it; each hears the other");
      if (!bob.join) told.push("it cannot send Replaces itself");
      return told.join("; ");
    },

    async "early-media"() {
      const told = [];
      const alice = await own.it.page("alice");
      if (about.playsEarly) {
        const bob = await start(own.it, "bob", { early: true });
        await alice.do("dial", "bob");
        await until("183 comes", async () => (await alice.event("progress")) === 183);
        await alice.hears(about.earlyTone ?? PHONE_TONE);
        await bob.rings();
        await bob.answer();
        await alice.event("confirmed");
        await alice.hears(PHONE_TONE);
        await alice.do("hangUp");
        await bob.ended();
        told.push("a browser hears it before it answers (183)");
      }
      const far = await own.it.sipp("uas_early_media", "alice", { user: "72", local: own.ports.early, echo: true, keys: { early: 8000 } });
      const dave = await start(own.it, "carol");
      await dave.dial("72");
      await dave.hears({ tone: PHONE_TONE });
      assert.ok(!/ 200 OK/.test((await far.messages()).split("message sent").at(-1)), "the answer is not out yet");
      await dave.up();
      await dave.hangUp();
      await far.done();
      told.push("it hears a trunk before the answer (183)");
      if (!about.playsEarly) told.push("it plays nothing early itself");
      return told.join("; ");
    },

    async failover() {
      const alice = await own.it.page("alice");
      const first = await start(own.it, "bob", { local: own.ports.first, password: "" });
      const second = await start(own.it, "bob", { local: own.ports.second, password: "" });
      await alice.do("dial", "71");
      await first.rings();
      await alice.do("hangUp");
      await first.kill();
      await alice.do("dial", "71");
      await second.rings();
      await second.answer();
      await alice.event("confirmed");
      await hearEachOther(alice, second);
      await alice.do("hangUp");
      await second.ended();
      const [record] = own.it.gateway.records();
      assert.equal(record.trunk, "second");
      return "it rings as the first trunk, is killed, and the next call rings and is heard at the second; the record names `second`";
    },

    async tls() {
      const alice = await own.it.page("alice");
      const bob = await start(own.it, "bob", { transport: "tls", ca: own.it.file("ours-ca.pem") });
      await talk(alice, bob);
      await alice.do("hangUp");
      await bob.ended();
      if (!about.checksCertificates) return "signs in over TLS with a certificate of a private authority, and is called and heard; it looks at no certificate itself";
      const suspicious = await start(own.it, "carol", { transport: "tls", ca: own.it.file("other-ca.pem"), unregistered: true });
      await suspicious.distrusts();
      assert.equal(await own.it.gateway.metric("crosspoint_bindings"), 2, "alice and bob");
      return "signs in over TLS, our certificate checked against a private authority, and is called and heard; with another authority it refuses us";
    },

    async "session-refresh"() {
      const alice = await own.it.page("alice");
      const bob = await start(own.it, "bob", { interval: 90 });
      await bob.dial("alice");
      await alice.event("incoming");
      await alice.do("answer");
      await bob.up();
      await hearEachOther(alice, bob);
      const how = await bob.refreshes();
      await Promise.all([alice.hears(PHONE_TONE), bob.hears({ tone: BROWSER_TONE }, { fresh: true })]);
      await bob.hangUp();
      await alice.event("ended");
      return `an interval of 90 s is agreed; after half of it ${how}, and both tones are heard on`;
    },

    async "new-address"() {
      const network = own.it.keep(await Network.start());
      const gateway = own.it.keep(await Gateway.start({ users: USERS, host: network.far.address, namespace: network.far, media: media(network.far.address) }));
      const bob = await start(own.it, "bob", { gateway, namespace: network.near, host: network.near.address });
      await bob.dial("600");
      await bob.up();
      await bob.hears({ tone: PHONE_TONE });
      network.move(network.near, "10.77.0.9");
      await bob.moves("10.77.0.9");
      const how = await hearsOn(bob, PHONE_TONE);
      await bob.hangUp();
      await bob.ended();
      return `its network gives it another address in mid-call: it says so in a re-INVITE, and hears itself from the echo again, ${how}`;
    },
  };
  for (const [id, why] of Object.entries(lacks)) plays[id] = cannot(why);

  return {
    ...about,
    plays,
    async setUp() {
      own.ports = await ports();
      own.it = await onStage({ trunks: trunks(own.ports) });
      return own.it;
    },
  };
}

/** Some phones look at their network once a minute only: longer than a silent call is kept by default. */
const media = (host) => `
addresses = ["${host}"]
listen = "${host}"
browser_listen = "${host}:0"
timeout = "2m"
`;

async function talk(alice, bob) {
  await alice.do("dial", "bob");
  await bob.rings();
  await bob.answer();
  await alice.event("confirmed");
  await bob.up();
  await hearEachOther(alice, bob);
}

/** What a phone hears from now on, after a re-INVITE; tells how it was found. */
function hearsOn(phone, tone) {
  return phone.hearsOn?.() ?? phone.hears({ tone }, { fresh: true }).then(() => "by its tone");
}

/** By what it records. */
async function hearEachOther(page, phone) {
  await Promise.all([page.hears(PHONE_TONE), phone.hears({ tone: BROWSER_TONE })]);
}
