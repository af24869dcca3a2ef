// The operators' console as operators have it: in a real browser, under its own rules, by what it says to a screen reader.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { temporaryFolder } from "../lib/folder.mjs";
import { until } from "../lib/wait.mjs";
import { stage, USERS } from "../lib/world.mjs";

const folder = temporaryFolder("console");
const PASSWORD = "an operator's password";
const HOSTILE = `<img src=x onerror="window.broken=1">`;
const it = stage({
  config: `
[recording]
folder = "${folder}"

[[trunk]]
name = "carrier"
host = "127.0.0.1"
port = 9
prefixes = ["0"]
options_interval = "5s"
`,
});
/** What went wrong inside the pages: exceptions, and what their own rules forbid. */
const errors = [];
const tabs = [];

before(async () => {
  await it.setUp();
  for (const role of ["viewer", "operator", "admin"]) it.gateway.cli(["operator", "add", role, "--role", role], PASSWORD);
});
afterEach(async () => {
  for (const tab of tabs.splice(0)) await tab.context().close();
  await it.close();
  await it.gateway.idle();
  assert.deepEqual(errors.splice(0), []);
});
after(() => it.takeDown());

/** A page where an operator has signed in. */
async function open(role, options = {}) {
  const context = await it.chromium.instance.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1360, height: 900 }, ...options });
  const page = await context.newPage();
  tabs.push(page);
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => /Content.Security.Policy/i.test(message.text()) && errors.push(message.text()));
  await page.goto(`${it.gateway.origin}/console`);
  await page.getByLabel("Name").fill(role);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  return page;
}

const show = (page, name) => page.getByRole("navigation").getByRole("link", { name }).click();
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const inDialog = (page, name) => page.getByRole("dialog").getByRole("button", { name, exact: true }).click();

/** A phone that is in a call, whose sound comes back to us, until somebody ends it, however long that takes. */
const caller = (user) => it.sipp("uac_call_until_bye", user, { echo: true, limit: 150, keys: { target: "601" } });

test("an operator sees a call with its quality, records it, and ends it", it.telling(async () => {
  const phone = await caller("phone1");
  const page = await open("operator");
  await show(page, "Calls");
  const row = page.getByRole("row", { name: /phone1/ });
  await row.getByText("talking").waitFor();
  await row.getByRole("button", { name: "Record" }).click();
  await row.getByText("rec", { exact: true }).waitFor();
  await row.getByRole("link").first().click();
  await page.getByRole("heading", { name: "phone1 → 601" }).waitFor();
  // Its first seconds may be worse than what follows.
  let shown;
  await until("the call has an excellent score", async () => {
    shown = await page.locator(".legs .badge.good").first().textContent({ timeout: 1000 }).catch(() => "");
    return /^4\.\d$/.test(shown);
  }).catch((error) => { throw new Error(`${error.message}: ${shown}`); });
  await press(page, "Hang up");
  await inDialog(page, "Hang up");
  await phone.done();
  // The same page has the record then, with why it went where it went, and the recording to be heard.
  await page.getByText("normal by the gateway", { exact: true }).waitFor();
  await page.getByText("Why it went where it went").waitFor();
  const player = page.locator("audio");
  await player.waitFor();
  await until("the recording is known to the player", () => player.evaluate((it) => it.duration > 0));
  await show(page, "Recordings");
  await page.getByRole("button", { name: "Play" }).first().waitFor();
}));

test("addresses are banned and lifted, and who did it is in the audit", async () => {
  const page = await open("operator");
  await show(page, "Bans");
  await page.getByRole("heading", { name: "Nobody is banned" }).waitFor();
  await press(page, "Ban an address");
  await page.getByRole("textbox", { name: "Address" }).fill("not an address");
  await inDialog(page, "Ban");
  await page.getByRole("alert").getByText("must be an IP address").waitFor();
  await page.getByRole("textbox", { name: "Address" }).fill("192.0.2.66");
  await inDialog(page, "Ban");
  await page.getByRole("row", { name: /192\.0\.2\.66/ }).getByText("by an operator").waitFor();
  await press(page, "Lift");
  await inDialog(page, "Lift it");
  await page.getByRole("heading", { name: "Nobody is banned" }).waitFor();
  await show(page, "Audit");
  for (const action of ["ban.add", "ban.lift"]) {
    const row = page.getByRole("row").filter({ hasText: action }).first();
    await row.getByText("192.0.2.66").first().waitFor();
    assert.match(await row.textContent(), /operator.*done/);
  }
});

test("the cursor is where a page wants it before anybody can write elsewhere", async () => {
  const page = await open("admin");
  // What is focused as soon as a field is there, before anything else happens on the page.
  const focused = (label) => page.evaluate((label) => new Promise((told) => {
    new MutationObserver((_, observer) => {
      const field = [...document.querySelectorAll("label")].find((it) => it.textContent === label)?.control;
      if (!field) return;
      observer.disconnect();
      told(document.activeElement?.labels?.[0]?.textContent ?? document.activeElement?.tagName);
    }).observe(document.body, { childList: true, subtree: true });
  }), label);
  const [onPage] = await Promise.all([focused("Dials"), show(page, "Route test")]);
  assert.equal(onPage, "Dials");
  await show(page, "Users");
  const [inTheDialog] = await Promise.all([focused("Name"), press(page, "Add a user")]);
  assert.equal(inTheDialog, "Name");
});

test("a user who was added signs in, and what its device calls itself is text", async () => {
  const page = await open("admin");
  await show(page, "Users");
  await press(page, "Add a user");
  await page.getByLabel("Name", { exact: true }).fill("dora");
  await page.getByLabel("Numbers and other names").fill("1004");
  await page.getByLabel("Password").fill("dora-secret");
  await inDialog(page, "Add");
  await page.getByRole("row", { name: /dora/ }).waitFor();
  const signIn = () => it.sipp("uac_register", "dora", {
    password: "dora-secret", keys: { contact_port: 5099, authentication: `[authentication]\nUser-Agent: ${HOSTILE}` },
  }).then((phone) => phone.done().then(() => true, () => false));
  USERS.dora ??= { password: "dora-secret" };
  await until("the gateway knows the new user", signIn);
  await show(page, "Registrations");
  await page.getByRole("row", { name: /dora/ }).getByText(HOSTILE).waitFor();
  assert.equal(await page.evaluate(() => window.broken), undefined);
  assert.equal(await page.locator("main img").count(), 0);

  await show(page, "Route test");
  await page.getByLabel("User", { exact: true }).fill("alice");
  await page.getByLabel("Dials").fill("1004");
  await press(page, "Test");
  await page.getByText("Rings dora").waitFor();
  await page.getByLabel("Dials").fill("nobody");
  await press(page, "Test");
  await page.getByText("Refused:").waitFor();

  await show(page, "Users");
  await press(page, "Remove dora");
  await inDialog(page, "Remove");
  await page.getByRole("row", { name: /dora/ }).waitFor({ state: "detached" });
});

test("the overview has what goes on, trunks how they do, and the records what was refused", it.telling(async () => {
  const refused = await it.sipp("uac_refused_404", "phone3", { keys: { target: "nobody" } });
  await refused.done();
  await it.signIn("phone5", 5098);
  const phone = await caller("phone4");
  const page = await open("operator");
  const tile = (name) => page.locator(".tile").filter({ has: page.getByRole("heading", { name, exact: true }) }).locator(".tile-value").textContent();
  await until("the running call is counted", async () => (await tile("Calls")) === "1");
  // A phone sends fifty packets a second.
  await until("its packets are counted", async () => Number(/^(\d+) packets\/s$/.exec(await tile("Media"))?.[1]) >= 25);
  await until("the other phone's sign-in is counted", async () => Number(await tile("Signed in")) >= 1);
  await page.getByRole("link", { name: "phone4 → 601" }).waitFor();
  await show(page, "Trunks");
  const destinations = page.getByRole("list", { name: "Destinations of carrier" });
  const down = destinations.getByRole("listitem").filter({ hasText: "127.0.0.1:9" });
  await down.getByText("down", { exact: true }).waitFor();
  assert.match(await down.textContent(), /unreachable/i);
  await show(page, "Records");
  await press(page, "Refused");
  const row = page.getByRole("row", { name: /nobody/ });
  await row.first().waitFor();
  assert.equal(await page.getByRole("row", { name: /601/ }).count(), 0, "the call that runs is none");
  await row.first().getByRole("link").first().click();
  await page.locator("[data-verdict=refused]").waitFor();
  await page.getByText("nobody and no rule has nobody").first().waitFor();
  await show(page, "Calls");
  await page.getByRole("row", { name: /phone4/ }).getByRole("button", { name: "Hang up" }).click();
  await inDialog(page, "Hang up");
  await phone.done();
}));

test("an admin adds an operator, who signs in, and is signed out when removed", async () => {
  const page = await open("admin");
  await show(page, "Operators");
  await press(page, "Add an operator");
  await page.getByRole("dialog").getByLabel("Name", { exact: true }).fill("nora");
  await page.getByRole("dialog").getByLabel("Password").fill(PASSWORD);
  await inDialog(page, "Add");
  await page.getByRole("row", { name: /nora/ }).getByText("viewer").waitFor();
  const nora = await open("nora");
  const asks = () => nora.evaluate(async () => (await fetch("/api/v1/calls")).status);
  assert.equal(await asks(), 200);
  await press(page, "Remove nora");
  await inDialog(page, "Remove");
  await page.getByRole("row", { name: /nora/ }).waitFor({ state: "detached" });
  assert.equal(await asks(), 401);
  await nora.getByRole("heading", { name: "Operator console" }).waitFor();
});

test("an admin changes the configuration, and a wrong one changes nothing", async () => {
  const page = await open("admin");
  await show(page, "Configuration");
  const text = page.getByRole("textbox", { name: "Configuration" });
  const before = await until("the file is shown", () => text.inputValue());
  await text.fill(before.replace("[recording]", "[limits]\ncalls = 0\n[recording]"));
  await press(page, "Check");
  await page.getByText("limits.calls").waitFor();
  await text.fill(before.replace("[recording]", "[limits]\ncalls = 500\n[recording]"));
  await press(page, "Save and apply");
  await inDialog(page, "Save and apply");
  await page.getByText(/Saved\. Applies now: .*limits/).waitFor();
  await press(page, "Show the file again");
  await until("the file has it", async () => (await text.inputValue()).includes("calls = 500"));
});

test("a viewer sees and changes nothing, whatever it sends", it.telling(async () => {
  const phone = await caller("phone2");
  const page = await open("viewer");
  for (const hidden of ["Audit", "Configuration", "Operators"]) {
    assert.equal(await page.getByRole("navigation").getByRole("link", { name: hidden }).count(), 0, hidden);
  }
  await show(page, "Calls");
  const row = page.getByRole("row", { name: /phone2/ });
  await row.getByText("talking").waitFor();
  assert.equal(await row.getByRole("button").count(), 0);
  // By hand, with all that the page itself would send.
  const tried = await page.evaluate(async () => {
    const session = await (await fetch("/api/v1/session")).json();
    const call = (await (await fetch("/api/v1/calls")).json()).items[0];
    const headers = { "content-type": "application/json", "x-crosspoint-csrf": session.csrf };
    const send = async (method, path, body) => (await fetch(`/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) })).status;
    return [
      await send("DELETE", `/calls/${call.gcid}`),
      await send("POST", `/calls/${call.gcid}/recording`, { action: "start" }),
      await send("POST", "/bans", { address: "192.0.2.1" }),
      await send("POST", "/users", { name: "eve" }),
      await send("PUT", "/operators/viewer", { role: "admin" }),
      await send("POST", "/reload"),
      await send("GET", "/audit"),
      await send("GET", "/configuration"),
      await send("POST", "/rtcengine/api/users"),
    ];
  });
  assert.deepEqual(tried.slice(0, -1), Array(tried.length - 1).fill(403));
  await row.getByText("talking").waitFor();
  const admin = await open("admin");
  await show(admin, "Calls");
  const end = admin.getByRole("row", { name: /phone2/ }).getByRole("button", { name: "Hang up" });
  await end.waitFor();
  // A phone that was stopped says nothing of it, and its call ends by itself after a while without sound.
  await phone.stop();
  await end.click();
  await inDialog(admin, "Hang up");
  await admin.getByText("Nobody is in a call").waitFor();
}));

test("it is light or dark as one likes, and one signs out", async () => {
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await open("viewer", { colorScheme: "dark" });
  const light = await open("viewer", { colorScheme: "light" });
  assert.notEqual(await ground(dark), await ground(light));
  await press(light, "Colours: dark");
  assert.equal(await ground(light), await ground(dark));
  await light.reload();
  await light.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(await ground(light), await ground(dark), "it is remembered");
  await press(light, "Sign out");
  await light.getByRole("heading", { name: "Operator console" }).waitFor();
  assert.equal(await light.evaluate(async () => (await fetch("/api/v1/calls")).status), 401);
});
