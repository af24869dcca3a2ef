// The examples of docs/examples, run as their readers run them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, extname, join, normalize } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { bestToneShare, readWav, writeTone } from "../lib/audio.mjs";
import { PROGRAM_LIMIT } from "../lib/limits.mjs";
import { overhear } from "../lib/overhear.mjs";
import { python } from "../lib/terminal.mjs";
import { until } from "../lib/wait.mjs";
import { BROWSER_TONE, PHONE_TONE, USERS, world } from "../lib/world.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const examples = join(root, "docs/examples");
const it = world();
let folder;
let server;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "crosspoint-examples-"));
  // What `npm run build` of the SDK would put there, and what the public server gives for the import map of JsSIP.
  await build({
    entryPoints: { sdk: join(root, "sdk/js/src/index.ts"), jssip: fileURLToPath(import.meta.resolve("jssip")) },
    bundle: true, format: "esm", outdir: folder, logLevel: "error",
  });
  server = createServer(async (request, response) => {
    const path = normalize(request.url.split("?")[0]).replace(/\/$/, "/index.html");
    const file = path === "/sdk/js/dist/index.js" ? join(folder, "sdk.js") : join(root, path);
    const type = { ".html": "text/html", ".js": "text/javascript" }[extname(file)];
    const content = type && (await readFile(file).catch(() => null));
    response.writeHead(content ? 200 : 404, { "content-type": type ?? "text/plain" }).end(content ?? "");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await it.close();
  await it.gateway.idle();
});

const story = (name, play) => test(name, it.telling(play));
const address = () => `${it.gateway.host}:${it.gateway.port("https")}`;

/** Runs a program to its end, and gives what it printed. */
async function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: PROGRAM_LIMIT, ...options });
  let told = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (told += text));
  const code = await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
  assert.equal(code, 0, `${command} ${args.join(" ")}: ${told}`);
  return told;
}

story("the example in Python calls the echo and records what it played", async () => {
  const [play, record] = [join(folder, "hello.wav"), join(folder, "heard.wav")];
  await writeTone(play, { frequency: 620, seconds: 5 });
  // As its README says, but that what is made goes elsewhere.
  const proto = join(root, "proto");
  const schema = ["wgtwo/common/v0/phonenumber.proto", "wgtwo/webterminal/v0/webterminal.proto"].map((file) => join(proto, file));
  await run(python, ["-m", "grpc_tools.protoc", "-I", proto, `--python_out=${folder}`, `--grpc_python_out=${folder}`, ...schema]);
  const env = { ...process.env, PYTHONPATH: folder, PYTHONDONTWRITEBYTECODE: "1", CROSSPOINT_PASSWORD: USERS.alice.password, GRPC_VERBOSITY: "ERROR" };
  const wishes = ["--insecure", "--gateway", address(), "--user", "alice", "--number", "600", "--play", play, "--record", record, "--seconds", "2.5"];
  assert.match(await run(python, [join(examples, "grpc-python/call.py"), ...wishes], { env }), /answer/);
  await rm(play);
  const { rate, samples } = await readWav(record);
  // It is in stereo: its left side.
  const { share } = bestToneShare({ rate, samples: samples.filter((_, at) => at % 2 === 0) }, 620);
  assert.ok(share > 0.8, `the echo said what it heard: ${share}`);
  const { cause, ended_by: by } = await it.gateway.lastRecord();
  assert.deepEqual([by, cause], ["front", "normal"]);
});

story("the lines for grpcurl do what they say", async () => {
  const text = await readFile(join(examples, "grpcurl.md"), "utf8");
  const lines = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block).join("\n");
  // The real one, where there is one.
  const standIn = join(folder, "grpcurl");
  await writeFile(standIn, `#!/bin/sh\nexec ${python} ${join(root, "e2e/grpc/grpcurl.py")} "$@"\n`);
  await chmod(standIn, 0o755);
  const env = { ...process.env, PATH: `${process.env.PATH}${delimiter}${folder}`, GATEWAY: address(), PASSWORD: USERS.alice.password, GRPC_VERBOSITY: "ERROR" };
  const told = await run("bash", ["-euo", "pipefail", "-c", lines], { env });
  assert.match(told, /^grpc\.health\.v1\.Health$[\s\S]*^wgtwo\.webterminal\.v0\.WebTerminalService$/m);
  assert.match(told, /rpc MultiPipe \( stream \.wgtwo\.webterminal\.v0\.WebTerminalMessage \) returns \( stream/);
  assert.match(told, /"status": "SERVING"/);
  assert.match(told, /"idle": \{\}/);
  assert.match(told, /"err": "NOT_INCALL"/);
});

class Page {
  static async open(path) {
    const context = await it.chromium.instance.newContext({ ignoreHTTPSErrors: true, permissions: ["microphone"] });
    const page = it.keep(new Page(await context.newPage(), context));
    page.tab.on("pageerror", (error) => page.errors.push(error.message));
    page.tab.on("console", (message) => page.log.push(message.text()));
    await page.tab.addInitScript(overhear);
    await page.tab.route("https://esm.sh/**", (route) => route.fulfill({ path: join(folder, "jssip.js"), contentType: "text/javascript", headers: { "access-control-allow-origin": "*" } }));
    await page.tab.goto(`http://127.0.0.1:${server.address().port}/docs/examples/${path}/`);
    return page;
  }

  constructor(tab, context) {
    Object.assign(this, { tab, context, errors: [], user: "the page", log: [] });
  }

  fill(label, value) {
    return this.tab.getByLabel(label, { exact: true }).fill(value);
  }

  press(name) {
    return this.tab.getByRole("button", { name, exact: true }).click();
  }

  says(what) {
    return until(`the page says ${what}`, async () => what.test((this.shown = await this.tab.getByRole("log").textContent()))).catch((error) => {
      throw new Error(`${error.message}: ${this.shown}\n${this.errors.join("\n")}`);
    });
  }

  hears(frequency) {
    return until(`the page hears ${frequency} Hz`, async () => {
      const heard = await this.tab.evaluate(() => window.heard());
      return heard && heard.level > -60 && Math.abs(heard.frequency - frequency) < 15;
    });
  }

  close() {
    return this.context.close();
  }
}

for (const [path, gateway, over] of [
  ["grpc-web", () => it.gateway.origin, /bye/],
  ["sdk", () => it.gateway.origin, /ended: /],
  ["jssip", address, /ended/],
]) {
  story(`the page of ${path} calls and is called`, async () => {
    const page = await Page.open(path);
    await page.fill("Gateway", gateway());
    await page.fill("User", "alice");
    await page.fill("Password", USERS.alice.password);
    await page.press("Sign in");
    await page.says(/signed in/);
    const phone = await it.phone("bob");
    await page.fill("Number", "bob");
    await page.press("Call");
    await phone.event("CALL_INCOMING").catch(async (error) => {
      throw new Error(`${error.message}: ${await page.tab.getByRole("log").textContent()}`);
    });
    phone.command("accept");
    await Promise.all([page.hears(PHONE_TONE), phone.hears(BROWSER_TONE)]);
    await phone.event("CALL_ESTABLISHED");
    await page.press("Hang up");
    // The page has one call at a time: it has to know that this one is over before another comes.
    await Promise.all([phone.event("CALL_CLOSED"), page.says(over)]);
    phone.dial("alice");
    await page.says(/bob\S* calls/);
    await page.press("Answer");
    await phone.event("CALL_ESTABLISHED");
    await page.hears(PHONE_TONE);
    phone.command("hangup");
    await page.says(new RegExp(` calls[^]*${over.source}`));
    assert.deepEqual(page.errors, []);
  });
}
