// The web phone as a user has it: the gateway's own page, under its own rules, by what it says to a screen reader.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { overhear } from "../lib/overhear.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, USERS, world } from "../lib/world.mjs";

const it = world();
const [RED, BLUE] = [[220, 30, 30], [30, 40, 220]];
/** What went wrong inside the pages: exceptions, and what their own rules forbid. */
const errors = [];
afterEach(async () => {
  assert.deepEqual(errors.splice(0), []);
  await it.close();
  await it.gateway.idle();
  await it.gateway.noApps();
});

class WebPhone {
  static async open(user, { viewport, password = USERS[user].password, ...options } = {}) {
    const context = await it.chromium.instance.newContext({ ignoreHTTPSErrors: true, permissions: ["microphone", "camera"], ...options, ...(viewport && { viewport }) });
    const phone = it.keep(new WebPhone(await context.newPage(), context));
    phone.page.on("pageerror", (error) => errors.push(error.message));
    phone.page.on("console", (message) => /Content.Security.Policy/i.test(message.text()) && errors.push(message.text()));
    await phone.page.addInitScript(overhear);
    await phone.page.goto(`${it.gateway.origin}/`);
    await phone.page.getByLabel("User").fill(user);
    await phone.page.getByLabel("Password").fill(password);
    await phone.press("Sign in");
    return phone;
  }

  constructor(page, context) {
    Object.assign(this, { page, context });
  }

  press(name) {
    return this.page.getByRole("button", { name, exact: true }).click();
  }

  sees(text) {
    return this.page.getByText(text).first().waitFor();
  }

  /** The call that has large controls. */
  call(name) {
    return this.page.getByRole("region", { name: `Call with ${name}`, exact: true });
  }

  async ready() {
    await this.sees("Ready");
    return this;
  }

  async dial(number) {
    await this.page.getByLabel("Number or name").fill(number);
    await this.page.keyboard.press("Enter");
  }

  async isUp(name) {
    await this.call(name).getByText("Connected", { exact: true }).waitFor();
  }

  hears(frequency) {
    return until(`the web phone hears ${frequency} Hz`, async () => {
      const heard = await this.page.evaluate(() => window.heard());
      return heard && heard.level > -60 && Math.abs(heard.frequency - frequency) < 15 && heard;
    });
  }

  /** The mean colour of a picture on the page, by its name; nothing until it has one. */
  picture(name) {
    return this.page.getByRole("img", { name, exact: true }).evaluate((video) => {
      if (!video.videoWidth) return null;
      const pen = Object.assign(document.createElement("canvas"), { width: 8, height: 8 }).getContext("2d");
      pen.drawImage(video, video.videoWidth / 4, video.videoHeight / 4, video.videoWidth / 2, video.videoHeight / 2, 0, 0, 8, 8);
      const { data } = pen.getImageData(0, 0, 8, 8);
      return [0, 1, 2].map((c) => Math.round(data.filter((_, i) => i % 4 === c).reduce((sum, value) => sum + value, 0) / 64));
    });
  }

  async shows(name, colour) {
    await until(`the web phone shows ${name} in ${colour}`, async () => {
      const seen = await this.picture(name).catch(() => null);
      return seen?.every((value, i) => Math.abs(value - colour[i]) < 70);
    }, { seconds: 20 });
  }

  /** A page that is left as one leaves a page says so, and nobody waits for it. */
  async close() {
    await this.page.goto("about:blank").catch(() => {});
    await this.context.close();
  }
}

const open = async (user, options) => (await WebPhone.open(user, options)).ready();

test("a wrong password is said, and the right one signs in", async () => {
  const phone = await WebPhone.open("alice", { password: "nonsense" });
  await phone.page.getByRole("alert").getByText("Wrong user or password.").waitFor();
  await phone.page.getByLabel("Password").fill(USERS.alice.password);
  await phone.press("Sign in");
  await phone.ready();
  await phone.press("Settings");
  await phone.press("Sign out");
  await phone.page.getByRole("form", { name: "Sign in" }).waitFor();
});

test("dials the echo number, hears itself, shows the quality and remembers the call", async () => {
  const phone = await open("alice");
  await phone.dial("600");
  await phone.isUp("600");
  await phone.hears(BROWSER_TONE);
  await phone.page.getByText(/Excellent|Good|Fair/).first().waitFor();
  await phone.press("Hang up");
  await phone.sees("No call now.");
  await phone.press("Recents");
  await phone.page.getByRole("button", { name: /^Call 600\. Outgoing/ }).click();
  await phone.isUp("600");
  await phone.press("Hang up");
  await it.gateway.idle();
});

test("is called, answers by the keyboard, mutes, holds, sends digits and transfers", async () => {
  const phone = await open("alice");
  const bob = await it.browser("sdk", "bob");
  const carol = await it.browser("jssip", "carol");
  await bob.do("dial", "alice");
  await phone.page.getByRole("region", { name: "Incoming call from bob" }).waitFor();
  await phone.page.locator("body").press("a");
  await bob.event("confirmed");
  await Promise.all([phone.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);

  const mute = phone.page.getByRole("button", { name: "Mute", exact: true });
  await phone.page.locator("body").press("m");
  await phone.page.getByRole("button", { name: "Mute", exact: true, pressed: true }).waitFor();
  await bob.hearsNothing();
  await mute.click();
  await bob.hears(BROWSER_TONE);

  await phone.press("Hold");
  await bob.event("hold-remote");
  await bob.hearsNothing();
  await phone.press("Hold");
  await bob.event("unhold-remote");
  await bob.hears(BROWSER_TONE);

  await phone.press("Keypad");
  await phone.page.getByRole("group", { name: "Keys for this call" }).getByRole("button", { name: "5", exact: true }).click();
  assert.equal(await bob.event("dtmf"), "5");

  await phone.press("Transfer");
  await phone.page.getByLabel("Transfer to").fill("carol");
  await phone.page.getByRole("form", { name: "Transfer" }).getByRole("button", { name: "Transfer" }).click();
  await carol.event("incoming");
  await carol.do("answer");
  await phone.sees("No call now.");
  await Promise.all([bob.hears(BROWSER_TONE), carol.hears(BROWSER_TONE)]);
  await carol.do("hangUp");
  await bob.event("ended");
});

test("two calls at once: the second holds the first, and they swap", async () => {
  const phone = await open("alice");
  const [bob, carol] = [await it.browser("sdk", "bob"), await it.browser("sdk", "carol")];
  await phone.dial("bob");
  await bob.event("incoming");
  await bob.do("answer");
  await phone.isUp("bob");
  await carol.do("dial", "alice");
  await phone.press("Answer");
  await bob.event("hold-remote");
  await phone.isUp("carol");
  await Promise.all([carol.hears(BROWSER_TONE), bob.hearsNothing()]);

  await phone.press("Swap calls");
  await bob.event("unhold-remote");
  await carol.event("hold-remote");
  await phone.isUp("bob");
  await Promise.all([bob.hears(BROWSER_TONE), carol.hearsNothing()]);

  await phone.press("Hang up carol");
  await carol.event("ended");
  await phone.press("Hang up");
  await bob.event("ended");
});

test("calls and is called with pictures, and the camera goes on and off by a key", async () => {
  const phone = await open("alice");
  const bob = await it.browser("sdk", "bob");
  const frames = async () => (await bob.do("seen"))?.frames ?? 0;
  await bob.do("dial", "alice", { camera: BLUE });
  await phone.page.getByRole("region", { name: "Incoming call from bob" }).getByText("is calling with video").waitFor();
  await phone.press("Answer");
  await phone.isUp("bob");
  await phone.shows("Picture of bob", BLUE);
  const camera = phone.page.getByRole("button", { name: "Camera", exact: true });
  assert.equal(await camera.getAttribute("aria-pressed"), "false");
  await phone.page.locator("body").press("v");
  await until("bob sees the camera", async () => (await frames()) > 10, { seconds: 20 });
  await phone.page.getByRole("img", { name: "Your picture" }).waitFor();
  await camera.click();
  await until("bob sees nothing any more", async () => !(await bob.do("pictures")).theirs);
  assert.equal(await phone.page.getByRole("img", { name: "Your picture" }).count(), 0);
  await phone.shows("Picture of bob", BLUE);
  await phone.press("Hang up");
  await bob.event("ended");

  await phone.page.getByLabel("Number or name").fill("bob");
  await phone.press("Call with video");
  await bob.event("incoming");
  await bob.do("answer", { camera: RED });
  await phone.isUp("bob");
  await phone.shows("Picture of bob", RED);
  const before = await frames();
  await until("bob sees the camera again", async () => (await frames()) > before + 10, { seconds: 20 });
  await phone.page.reload();
  await phone.isUp("bob");
  await phone.shows("Picture of bob", RED);
  await phone.page.getByRole("img", { name: "Your picture" }).waitFor();
  await Promise.all([phone.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await phone.press("Hang up");
  await bob.event("ended");
});

test("rejects a call, which then is no missed one", async () => {
  const phone = await open("alice");
  const bob = await it.browser("sdk", "bob");
  await bob.do("dial", "alice");
  await phone.press("Reject");
  assert.equal((await bob.event("failed")).reason, "declined");
  await phone.press("Recents");
  await phone.page.getByRole("button", { name: /^Call bob\. Declined/ }).waitFor();
});

test("survives a reload in mid-call", async () => {
  const phone = await open("alice");
  const bob = await it.browser("sdk", "bob");
  await phone.dial("bob");
  await bob.event("incoming");
  await bob.do("answer");
  await phone.isUp("bob");
  await phone.page.reload();
  await phone.isUp("bob");
  await Promise.all([phone.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await phone.press("Hang up");
  await bob.event("ended");
});

test("brings a call here from another device", async () => {
  const phone = await open("alice");
  const [desk, bob] = [await it.browser("jssip", "alice"), await it.browser("sdk", "bob")];
  await desk.do("dial", "bob");
  await bob.event("incoming");
  await bob.do("answer");
  await desk.event("confirmed");
  await desk.hears(BROWSER_TONE);
  await phone.press("Bring here");
  await desk.event("ended");
  await phone.isUp("bob");
  await Promise.all([phone.hears(BROWSER_TONE), bob.hears(BROWSER_TONE)]);
  await phone.press("Hang up");
  await bob.event("ended");
});

test("checks itself", async () => {
  const phone = await open("alice");
  await phone.press("Check");
  await phone.press("Check this phone");
  await phone.page.getByText(/The tone comes back after|The tone came back/).waitFor({ timeout: 45_000 });
  await phone.sees("No call now.");
  await it.gateway.idle();
});

test("keeps contacts, and calls them by name", async () => {
  const phone = await open("alice");
  await phone.press("Contacts");
  await phone.page.getByLabel("Name", { exact: true }).fill("My own voice");
  await phone.page.getByLabel("Number", { exact: true }).fill("600");
  await phone.press("Add contact");
  await phone.press("Call My own voice");
  await phone.isUp("My own voice");
  await phone.press("Hang up");
  await it.gateway.idle();
  await phone.page.reload();
  await phone.press("Contacts");
  await phone.page.getByRole("button", { name: "Remove My own voice" }).waitFor();
});

test("fits a phone's screen by night, with a picture, and everything has a name", async () => {
  const phone = await open("alice", { viewport: { width: 360, height: 640 }, colorScheme: "dark" });
  const bob = await it.browser("sdk", "bob");
  await phone.page.getByLabel("Number or name").fill("bob");
  await phone.press("Call with video");
  await bob.event("incoming");
  await bob.do("answer", { camera: BLUE });
  await phone.isUp("bob");
  await phone.shows("Picture of bob", BLUE);
  const small = await phone.page.evaluate(() =>
    [...document.querySelectorAll(".active button")].filter((e) => e.offsetParent && Math.min(e.offsetWidth, e.offsetHeight) < 40).map((e) => e.ariaLabel));
  assert.deepEqual(small, [], "every control can be hit with a thumb");
  const wide = await phone.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, "nothing sticks out at the side");
  for (const tab of ["Dial", "Recents", "Contacts", "Check", "Settings"]) {
    await phone.press(tab);
    const nameless = await phone.page.evaluate(() =>
      [...document.querySelectorAll("button, input, select")]
        .filter((e) => e.offsetParent && !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
        .map((e) => e.outerHTML));
    assert.deepEqual(nameless, []);
  }
  await phone.press("Hang up");
  await bob.event("ended");
});
