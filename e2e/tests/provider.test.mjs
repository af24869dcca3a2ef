// An app's account that lives at a provider: the gateway signs in at Kamailio as a SIP client, and calls go both ways.
import assert from "node:assert/strict";
import { request } from "node:https";
import { afterEach, describe, test } from "node:test";
import { Kamailio } from "../lib/kamailio.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS, world } from "../lib/world.mjs";

const OPERATOR = { user: "operator", password: "a password of an operator" };
process.env.CROSSPOINT_E2E_OPERATOR = OPERATOR.password;
const it = world({
  config: `
[rtcengine]
provisioning_user = "${OPERATOR.user}"
provisioning_password_env = "CROSSPOINT_E2E_OPERATOR"
`,
});
const PASSWORD = "secret-of-provider";
USERS.dave = { password: PASSWORD };
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

/** Makes something with the provisioning API. */
function make(kind, body) {
  return new Promise((resolve, reject) => {
    const options = {
      host: it.gateway.host, port: it.gateway.port("https"), path: `/rtcengine/api/${kind}`, method: "POST",
      auth: `${OPERATOR.user}:${OPERATOR.password}`, rejectUnauthorized: false, headers: { "content-type": "application/json" },
    };
    const sent = request(options, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => (response.statusCode === 201 ? resolve(JSON.parse(text)) : reject(new Error(`${kind}: ${response.statusCode} ${text}`))));
    });
    sent.on("error", reject).end(JSON.stringify(body));
  });
}

let owners = 0;

/** A session with one account at the provider; its token. */
async function session(registrar, accessToken = PASSWORD) {
  const owner = (await make("users", { email: `owner${++owners}@example.test`, password: "password of an owner" })).id;
  const app = (await make("apps", { name: "App", domain: "app.example.test", owner })).id;
  await make("networks", { tag: "provider", connector: "sip-connector", config: JSON.stringify({ registrar, expires: 600 }), owner });
  const { id, token } = await make("sessions", { app, owner });
  await make("accounts", { session: id, network: "provider", identifier: "sip:carol@127.0.0.1", accessToken, owner });
  return token;
}

/** A provider with a phone that is signed in there, and a page whose account is there too. */
async function provided(transport) {
  const port = await freePort();
  const provider = it.keep(await Kamailio.registrar({ port, password: PASSWORD }));
  const phone = await it.phone("dave", { gateway: { domain: "127.0.0.1", port: () => port }, transport, answer: "manual" });
  const token = await session(`sip:127.0.0.1:${port};transport=${transport}`);
  const carol = await it.browser("sdk", "carol", { network: "provider", token });
  return { port, provider, phone, carol };
}

async function hearEachOther(page, phone) {
  await page.hears(PHONE_TONE);
  await phone.hears(BROWSER_TONE);
}

for (const transport of ["udp", "tcp"]) {
  describe(`over ${transport}`, () => {
    test("a call goes out over the account, and the phone hangs up", it.telling(async () => {
      const { phone, carol } = await provided(transport);
      await carol.do("dial", "dave");
      const call = await phone.event("CALL_INCOMING");
      assert.match(call.peeruri, /sip:carol@127\.0\.0\.1/);
      phone.command("accept");
      await carol.event("confirmed");
      await hearEachOther(carol, phone);
      phone.command("hangup");
      await carol.event("ended");
    }));

    test("a call comes in at the account, and the page hangs up", it.telling(async () => {
      const { phone, carol } = await provided(transport);
      phone.dial("carol");
      assert.equal((await carol.event("incoming")).from, "dave");
      await carol.do("answer");
      await carol.event("confirmed");
      await hearEachOther(carol, phone);
      await carol.do("hold");
      await carol.do("unhold");
      await carol.hears(PHONE_TONE);
      await carol.do("hangUp");
      await phone.event("CALL_CLOSED");
    }));
  });
}

test("a call to nobody fails with the provider's reason", async () => {
  const { carol } = await provided("udp");
  await carol.do("dial", "nobody");
  const end = await carol.event("failed");
  assert.equal(end.reason, "notFound", JSON.stringify(end));
});

test("a wrong password is told", async () => {
  const port = await freePort();
  it.keep(await Kamailio.registrar({ port, password: PASSWORD }));
  const token = await session(`sip:127.0.0.1:${port}`, "wrong");
  const client = await it.chromium.client("sdk", it.gateway, "carol", "", { network: "provider", token });
  it.keep(client);
  await until("the account fails", async () => (await client.event("account")) === "failed");
});

test("a provider that is started again is found again, and calls come in", async () => {
  const { port, provider, phone, carol } = await provided("tcp");
  await phone.stop();
  await provider.stop();
  it.keep(await Kamailio.registrar({ port, password: PASSWORD }));
  const again = await it.phone("dave", { gateway: { domain: "127.0.0.1", port: () => port }, transport: "tcp" });
  // Nobody told the page's account's place yet: the gateway signs in again within ten seconds.
  await until("the call gets through", async () => {
    again.events.length = 0;
    again.dial("carol");
    const seen = await until("an answer", async () =>
      (await carol.do("take", "incoming")) ? "rings" : again.events.some((e) => e.type === "CALL_CLOSED") && "refused");
    return seen === "rings";
  }, { seconds: 30 });
  await carol.do("answer");
  await hearEachOther(carol, again);
  await carol.do("hangUp");
  await again.event("CALL_CLOSED");
});
