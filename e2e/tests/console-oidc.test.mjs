// Operators who sign in at the console with an identity of a certified provider, in a real browser.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { certificates } from "../lib/certificates.mjs";
import { temporaryFolder } from "../lib/folder.mjs";
import { CLIENT, Identities } from "../lib/identities.mjs";
import { stage } from "../lib/world.mjs";

const pem = certificates();
const secret = join(temporaryFolder("oidc"), "secret");
writeFileSync(secret, CLIENT.secret);
const identities = await Identities.start({ pem, groups: { olga: ["staff", "noc"], eve: ["staff"] } });
const it = stage({
  users: {},
  config: `
[console.oidc]
issuer = "${identities.issuer}"
client_id = "${CLIENT.id}"
client_secret_file = "${secret}"
roles = { admin = ["gateway-admins"], operator = ["noc"] }
scopes = ["groups"]
label = "Example account"
ca_file = "${pem("ours-ca.pem")}"
allow = ["127.0.0.0/8"]
`,
});
const contexts = [];
/** What went wrong inside our pages. */
const errors = [];

before(async () => {
  await it.setUp();
  identities.know(it.gateway.origin);
});
afterEach(async () => {
  for (const context of contexts.splice(0)) await context.close();
  assert.deepEqual(errors.splice(0), []);
});
after(async () => {
  await it.takeDown();
  await identities.stop();
});

/** Somebody's browser. The provider's pages want fonts from far away, and get none. */
async function browser(options = {}) {
  const context = await it.chromium.instance.newContext({ ignoreHTTPSErrors: true, ...options });
  contexts.push(context);
  await context.route((url) => !["127.0.0.1", "localhost"].includes(url.hostname), (route) => route.abort());
  return context;
}

/** A page where the console wants to know who one is. */
async function open(context) {
  const page = await context.newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(`${it.gateway.origin}/console`);
  return page;
}

const button = (page) => page.getByRole("link", { name: "Sign in with Example account" });

test("an operator signs in with its account at the provider, bans somebody, and signs out of both", async () => {
  const page = await open(await browser({ colorScheme: "dark" }));
  await button(page).click();
  await identities.signIn(page, "olga");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(page.url(), `${it.gateway.origin}/console`, "nothing of the way is left in the address");
  await page.getByRole("link", { name: "olga (oidc)" }).click();
  await page.getByRole("heading", { name: "olga (oidc)" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Another password" }).count(), 0);

  const menu = page.getByRole("navigation");
  assert.equal(await menu.getByRole("link", { name: "Configuration" }).count(), 0, "an operator is no admin");
  await menu.getByRole("link", { name: "Bans" }).click();
  await page.getByRole("button", { name: "Ban an address" }).click();
  await page.getByRole("textbox", { name: "Address" }).fill("192.0.2.77");
  await page.getByRole("dialog").getByRole("button", { name: "Ban", exact: true }).click();
  await page.getByRole("row", { name: /192\.0\.2\.77/ }).waitFor();
  await menu.getByRole("link", { name: "Audit" }).click();
  const row = page.getByRole("row").filter({ hasText: "ban.add" });
  assert.match(await row.textContent(), /olga \(oidc\).*192\.0\.2\.77.*done/);
  const begun = page.getByRole("row").filter({ hasText: "session.begin" });
  assert.match(await begun.textContent(), /olga \(oidc\).*done/);

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Yes, sign me out" }).click();
  await button(page).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch("/api/v1/calls")).status), 401);
  // The provider asks who it is again.
  await button(page).click();
  await page.getByPlaceholder("Enter any login").waitFor();
});

test("somebody without a group is told so, and the audit has it", async () => {
  const page = await open(await browser({ colorScheme: "light" }));
  await button(page).click();
  await identities.signIn(page, "eve");
  await page.getByRole("alert").getByText("have no role here").waitFor();
  assert.equal(await page.evaluate(async () => (await fetch("/api/v1/calls")).status), 401);
  await page.reload();
  await button(page).waitFor();
  assert.equal(await page.getByRole("alert").count(), 0, "it is said once");

  // Whoever signs in next is somebody else, and reads of it.
  const operator = await open(await browser());
  await button(operator).click();
  await identities.signIn(operator, "olga");
  await operator.getByRole("navigation").getByRole("link", { name: "Audit" }).click();
  const refused = operator.getByRole("row").filter({ hasText: "no_role" });
  assert.match(await refused.textContent(), /nobody.*session\.begin.*eve \(oidc\).*refused: no_role/);
});

test("the way back is good once, and in no other browser", async () => {
  const mine = await browser();
  const page = await open(mine);
  await button(page).click();
  // The browser stops on its way back, and somebody else gets the address.
  const address = await identities.signInAlmost(page, "olga");
  assert.ok(address.startsWith(`${it.gateway.origin}/api/v1/session/oidc/callback?`), address);
  const other = await (await browser()).newPage();
  await other.goto(address);
  await other.getByRole("alert").getByText("began in another browser").waitFor();
  assert.equal(await other.evaluate(async () => (await fetch("/api/v1/calls")).status), 401, "nobody is signed in as olga");

  await page.goto(address);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  const again = await mine.newPage();
  await again.goto(address);
  // Its cookie is good: it is in still, by the first time and not by this one.
  await again.getByRole("heading", { name: "Overview" }).waitFor();
  const refused = await it.gateway.metric("crosspoint_console_oidc_total", { outcome: "stale" });
  assert.equal(refused, 2);
});
