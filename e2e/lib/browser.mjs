// Headless Chromium whose microphone is a tone, with a page that runs JsSIP or SIP.js.
import { createServer } from "node:http";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { writeTone } from "./audio.mjs";
import { until, within } from "./wait.mjs";

/** What a page may run: a client in `page/` for each. */
const LIBRARIES = ["jssip", "sipjs", "sdk", "webterminal"];
const page = fileURLToPath(new URL("../page/", import.meta.url));

export class Browser {
  /** A browser whose microphone hears `frequency` for ever. It runs in `namespace` if there is one. */
  static async start({ frequency = 1000, namespace } = {}) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-browser-"));
    const tone = join(folder, "tone.wav");
    await writeTone(tone, { frequency, seconds: 10 });
    const server = await serve(folder);
    const instance = await chromium.launch({
      executablePath: namespace ? await inside(folder, namespace) : CHROMIUM,
      headless: true,
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        `--use-file-for-fake-audio-capture=${tone}`,
        "--ignore-certificate-errors", "--allow-loopback-in-peer-connection",
        "--autoplay-policy=no-user-gesture-required",
      ],
    });
    const browser = new Browser(instance, server, folder);
    browser.pid = (await browser.#pids("browser"))[0];
    return browser;
  }

  constructor(instance, server, folder) {
    Object.assign(this, { instance, server, folder });
    this.origin = `http://127.0.0.1:${server.address().port}`;
  }

  /**
   * A page with a signed-in user. `library` is `jssip`, `sipjs` or `sdk`.
   * `origin` is whose page it is: our own server's, or the gateway's web phone, into which the client is put.
   */
  async client(library, gateway, user, password, { origin = this.origin, ...options } = {}) {
    const context = await this.instance.newContext({ ignoreHTTPSErrors: true, bypassCSP: true, permissions: ["microphone"] });
    const tab = await context.newPage();
    const client = new Client(tab, context, user);
    tab.on("console", (message) => client.log.push(message.text()));
    tab.on("pageerror", (error) => client.log.push(`error ${error.message}`));
    if (origin === this.origin) {
      await tab.goto(`${origin}/${library}.html`);
    } else {
      await tab.goto(`${origin}/`);
      await tab.addScriptTag({ path: join(this.folder, `${library}.js`), type: "module" });
    }
    await client.runs();
    await client.do("start", { url: gateway.webSocketUrl, user, password, domain: gateway.domain, ...options });
    return client;
  }

  /** Sends a signal to this browser's processes of one kind, such as `renderer`, or to the `browser` itself. */
  async signal(kind, name) {
    for (const pid of await this.#pids(kind)) process.kill(pid, name);
  }

  async #pids(kind) {
    this.session ??= await this.instance.newBrowserCDPSession();
    const { processInfo } = await this.session.send("SystemInfo.getProcessInfo");
    const pids = processInfo.filter((p) => p.type === kind).map((p) => p.id);
    if (pids.length === 0) throw new Error(`the browser has no ${kind}: ${JSON.stringify(processInfo)}`);
    return pids;
  }

  async stop() {
    const closed = this.instance.close();
    // That Chromium does not end is no failure of ours.
    await within("Chromium closes", 20_000, closed).catch(() => process.kill(this.pid, "SIGKILL"));
    this.server.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export class Client {
  constructor(tab, context, user) {
    Object.assign(this, { tab, context, user, log: [] });
  }

  /** A module runs when the browser gets to it, which may be after the page counts as loaded. */
  runs() {
    return this.tab.waitForFunction(() => window.client);
  }

  /** Loads its page again. */
  async reload() {
    await this.tab.reload();
    await this.runs();
  }

  do(method, ...args) {
    const done = this.tab.evaluate(([name, values]) => window.client[name](...values), [method, args]);
    return within(`${this.user}'s page does ${method}\n${this.log.slice(-15).join("\n")}`, 60_000, done);
  }

  state() {
    return this.tab.evaluate(() => window.client.state());
  }

  /** Waits for an event with this name and returns its detail. */
  async event(name, options) {
    try {
      return await until(
        `${this.user} sees ${name}`,
        () => this.tab.evaluate((n) => window.client.take(n), name),
        options,
      );
    } catch (error) {
      const seen = await this.tab.evaluate(() => JSON.stringify(window.client.events)).catch(() => "?");
      throw new Error(`${error.message}\nevents: ${seen}\n${this.log.slice(-15).join("\n")}`);
    }
  }

  registered() {
    return this.event("registered");
  }

  /** Waits until the far end's tone is heard. */
  async hears(frequency, options) {
    let last;
    return until(
      `${this.user} hears ${frequency} Hz`,
      async () => {
        const heard = (last = await this.do("heard"));
        return heard && heard.level > -60 && Math.abs(heard.frequency - frequency) < 15 ? heard : null;
      },
      options,
    ).catch((error) => {
      throw new Error(`${error.message}, but ${JSON.stringify(last)}`);
    });
  }

  /** Waits until nothing is heard. */
  async hearsNothing(options) {
    return until(`${this.user} hears silence`, async () => (await this.do("heard"))?.level < -80, options);
  }

  /** Signs out first: a page of the SDK that is just gone is waited for. */
  async leave() {
    await this.do("stop").catch(() => {});
    await this.close();
  }

  async close() {
    await this.context.close();
  }
}

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** A program that is Chromium in a network namespace. */
async function inside(folder, namespace) {
  const program = join(folder, "chromium");
  await writeFile(program, `#!/bin/sh\nexec ${namespace.prefix.join(" ")} ${CHROMIUM} "$@"\n`, { mode: 0o755 });
  return program;
}

async function serve(folder) {
  await build({
    entryPoints: LIBRARIES.map((name) => join(page, `${name}.mjs`)),
    bundle: true,
    format: "esm",
    outdir: folder,
    logLevel: "error",
  });
  const server = createServer(async (request, response) => {
    const name = request.url.slice(1).split("?")[0];
    if (LIBRARIES.some((library) => name === `${library}.html`)) {
      response.setHeader("content-type", "text/html");
      response.end(`<!doctype html><title>${name}</title>
        <script type="module" src="/${name.replace("html", "js")}"></script>`);
    } else if (LIBRARIES.some((library) => name === `${library}.js`)) {
      response.setHeader("content-type", "text/javascript");
      response.end(await readFile(join(folder, name)));
    } else {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
