// Starts the crosspoint binary on free ports with a folder of its own, and stops it.
import { spawn, spawnSync } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "./folder.mjs";
import { PROGRAM_LIMIT, threads } from "./limits.mjs";
import { served } from "./served.mjs";
import { end, until } from "./wait.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const binary = process.env.CROSSPOINT_BIN ?? join(root, "target/debug/crosspoint");

/** Those that run now, for a failed test to tell what they knew. */
const running = new Set();

// Only as a file of the test runner: other programs use these helpers too.
if (process.env.NODE_TEST_CONTEXT) {
  const { afterEach } = await import("node:test");
  afterEach(({ error }) => {
    const told = error?.cause ?? error;
    if (told instanceof Error) told.message += [...running].map((gateway) => `\n--- ${gateway.data}\n${gateway.told()}`).join("");
  });
}

export class Gateway {
  /**
   * `config` is TOML text added to a configuration of loopback listeners on free ports.
   * `host` is what they listen on; `http` and `media` replace those sections' usual text.
   * It runs in the network namespace `namespace` if there is one.
   */
  static async start({ config = "", users = {}, host = "127.0.0.1", http, media, namespace } = {}) {
    const data = temporaryFolder("e2e");
    const file = join(data, "crosspoint.toml");
    // Tests of hold listen for silence, unless they are about music.
    const sound = config.includes("[sound]") ? "" : '[sound]\nmusic_on_hold = "off"\n';
    const behind = await served({ config, media, host, namespace });
    const all = [baseConfig(uriHost(host), http, (media ?? usualMedia(host)) + (behind?.media ?? "")), sound, config, behind?.config ?? ""];
    await writeFile(file, all.join(""));
    const gateway = new Gateway(data, file, host);
    gateway.behind = behind;
    gateway.prefix = namespace?.prefix ?? [];
    for (const [name, { password, aliases = [] }] of Object.entries(users)) {
      gateway.cli(["user", "add", name, ...aliases.flatMap((a) => ["--alias", a]), "--password-stdin"], password);
    }
    await gateway.run();
    await behind?.isUsed(gateway);
    return gateway;
  }

  constructor(data, file, host) {
    Object.assign(this, { data, file, host, log: [] });
  }

  cli(args, input = "") {
    const result = spawnSync(binary, [...args, "--config", this.file, "--data", this.data], { input, encoding: "utf8", timeout: PROGRAM_LIMIT });
    if (result.status !== 0) throw new Error(`crosspoint ${args.join(" ")}: ${result.error ?? ""}${result.stderr}${result.stdout}`);
    return result.stdout;
  }

  async run() {
    const [program, ...args] = [...(this.prefix ?? []), binary, "run", "--json", "--config", this.file, "--data", this.data, ...(this.more ?? [])];
    this.process = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
    });
    createInterface({ input: this.process.stderr }).on("line", (line) => this.#note(line));
    this.exited = new Promise((resolve) => this.process.once("exit", (code) => resolve(code)));
    const lines = createInterface({ input: this.process.stdout });
    this.ready = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        this.#note(line);
        try {
          const message = JSON.parse(line);
          if (message.event === "ready") resolve(message);
        } catch {
          // A log line that is not JSON.
        }
      });
      this.process.once("exit", (code) => reject(new Error(`exited with ${code}:\n${this.log.join("\n")}`)));
    });
    running.add(this);
    this.process.once("exit", () => running.delete(this));
  }

  #note(line) {
    this.log.push(line);
    if (this.log.length > 2000) this.log.shift();
  }

  /** Users live at our address: no name has to resolve. */
  get domain() {
    return uriHost(this.host);
  }

  port(kind) {
    const found = this.ready.listeners.find((l) => l.kind === kind);
    if (!found) throw new Error(`no ${kind} listener in ${JSON.stringify(this.ready)}`);
    return Number(found.address.split(":").pop());
  }

  /** Of its own pages. */
  get origin() {
    return `https://${this.domain}:${this.port("https")}`;
  }

  get webSocketUrl() {
    return `${this.origin.replace("https", "wss")}/ws`;
  }

  /** The value of one metric, summed over the labels that match. */
  async metric(name, labels = {}) {
    const text = await this.get("/metrics");
    let sum = 0;
    for (const line of text.split("\n")) {
      if (!line.startsWith(name)) continue;
      const [series, value] = [line.slice(0, line.lastIndexOf(" ")), line.slice(line.lastIndexOf(" ") + 1)];
      if (series.split("{")[0] !== name) continue;
      const wanted = Object.entries(labels).every(([key, v]) => series.includes(`${key}="${v}"`));
      if (wanted) sum += Number(value);
    }
    return sum;
  }

  async get(path) {
    if (this.prefix?.length) return this.#getInside(path);
    const https = await import("node:https");
    return new Promise((resolve, reject) => {
      // The gateway ends a connection that has had its time, which may be just when it is used again: then another one asks.
      const failed = (error) => (asked.reusedSocket ? resolve(this.get(path)) : reject(error));
      const asked = https.get({ host: this.host, port: this.port("https"), path, rejectUnauthorized: false }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk)).on("end", () => resolve(text)).on("error", failed);
      });
      asked.on("error", failed);
    });
  }

  /** From where the gateway is: its network is not ours. */
  #getInside(path) {
    const program = `fetch(${JSON.stringify(this.origin + path)}).then((r) => r.text()).then((t) => process.stdout.write(t))`;
    const env = { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: "0", NODE_NO_WARNINGS: "1" };
    const [command, ...args] = [...this.prefix, process.execPath, "-e", program];
    const { stdout, stderr, status } = spawnSync(command, args, { encoding: "utf8", env, timeout: PROGRAM_LIMIT });
    if (status !== 0) throw new Error(`${path} in the namespace: ${stderr}`);
    return stdout;
  }

  async idle() {
    await until("no call is left", async () => (await this.metric("crosspoint_calls_active")) === 0);
    await until("no media leg is left", async () => (await this.metric("crosspoint_media_legs")) === 0);
  }

  /** A page that is closed before its sign-off is out is waited for, and until then its user rings there as well. */
  async noApps() {
    await until("no app is signed in", async () => (await this.metric("crosspoint_app_clients")) === 0, { seconds: 40 });
  }

  /** The record of the call that was over last: records are written a little after a call's end. */
  async lastRecord() {
    await this.idle();
    const ended = await this.metric("crosspoint_calls_ended_total");
    const written = await until("the records of all calls are written", () => [this.records()].find(({ length }) => length >= Math.max(ended, 1)));
    return written[0];
  }

  records() {
    return JSON.parse(this.cli(["cdr", "list", "--json"]));
  }

  /** The end of its log, and what was said in its last calls: in the last of all, word for word. */
  told({ lines = 20, calls = 3 } = {}) {
    const run = (...args) => spawnSync(binary, ["call", ...args, "--config", this.file, "--data", this.data], { encoding: "utf8", timeout: PROGRAM_LIMIT }).stdout;
    const listed = JSON.parse(run("list", "--limit", String(calls), "--json") || "[]");
    // One that does not answer gives an error instead.
    return [...this.log.slice(-lines), ...[listed].flat().map(({ gcid, error }, at) => error ?? run("show", gcid, "--width", "150", ...(at ? [] : ["--messages"])))].join("\n");
  }

  residentKiB() {
    const { stdout } = spawnSync("ps", ["-o", "rss=", "-p", String(this.process.pid)], { encoding: "utf8" });
    return Number(stdout.trim());
  }

  async stop() {
    let seen;
    const stuck = () => (seen = threads("--pid", this.process.pid));
    const heeded = await end(this.process, this.exited, { seconds: 20, stuck });
    if (!heeded) throw new Error(`the gateway does not stop:\n${seen}\n${this.log.slice(-20).join("\n")}`);
    return this.exited;
  }

  async remove() {
    await this.stop();
    await this.behind?.stop();
    await rm(this.data, { recursive: true, force: true });
  }
}

/** A host as it stands in a URI: an IPv6 address has brackets there. */
export function uriHost(host) {
  return host.includes(":") ? `[${host}]` : host;
}

export const usualMedia = (host) => `
addresses = ["${host}"]
listen = "${host}"
browser_listen = "${uriHost(host)}:0"
`;

const baseConfig = (host, http = 'allowed_origins = ["*"]', media = "") => `
[http]
listen = "${host}:0"
${http}

[media]
${media}

[[listener]]
transport = "udp"
address = "${host}:0"

[[listener]]
transport = "tcp"
address = "${host}:0"

[[listener]]
transport = "tls"
address = "${host}:0"
`;
