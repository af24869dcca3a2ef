// Starts `crosspoint media`, or rtpengine in its place, on free ports, and speaks ng to either.
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { binary } from "./gateway.mjs";
import { freePort, portRange } from "./ports.mjs";
import { end, until } from "./wait.mjs";

let requests = 0;

/** Bencode of objects, lists, texts and numbers. */
export function bencode(value) {
  if (Array.isArray(value)) return `l${value.map(bencode).join("")}e`;
  if (typeof value === "number") return `i${value}e`;
  if (typeof value === "string") return `${Buffer.byteLength(value)}:${value}`;
  return `d${Object.entries(value).map(([key, it]) => bencode(key) + bencode(it)).join("")}e`;
}

/** The other way, of texts that are plain. */
export function bdecode(text) {
  let at = 0;
  const next = () => {
    if (/\d/.test(text[at])) {
      const colon = text.indexOf(":", at);
      const [from, length] = [colon + 1, Number(text.slice(at, colon))];
      at = from + length;
      return text.slice(from, at);
    }
    const kind = text[at++];
    if (kind === "i") {
      const end = text.indexOf("e", at);
      const number = Number(text.slice(at, end));
      at = end + 1;
      return number;
    }
    const items = [];
    while (text[at] !== "e") items.push(next());
    at += 1;
    if (kind === "l") return items;
    return Object.fromEntries(Array.from({ length: items.length / 2 }, (_, n) => [items[2 * n], items[2 * n + 1]]));
  };
  return next();
}

/** Sends one request to an ng server, in JSON if it is not told otherwise, and gives its reply. */
export async function ask(port, request, [encode, decode] = [JSON.stringify, JSON.parse]) {
  const socket = createSocket("udp4");
  const cookie = `e2e_${process.pid}_${(requests += 1)}`;
  const body = Buffer.from(`${cookie} ${encode(request)}`);
  let again, late;
  try {
    return await new Promise((resolve, reject) => {
      // Repeats are answered with the bytes of the first reply.
      again = setInterval(() => socket.send(body, port, "127.0.0.1"), 1000);
      late = setTimeout(() => reject(new Error(`no answer to ${request.command}`)), 20_000);
      socket.on("message", (bytes) => {
        const text = bytes.toString();
        if (text.startsWith(`${cookie} `)) resolve(decode(text.slice(cookie.length + 1)));
      });
      socket.send(body, port, "127.0.0.1");
    });
  } finally {
    clearInterval(again);
    clearTimeout(late);
    socket.close();
  }
}

export class MediaServer {
  /** `listen` is where it takes requests, for one that has to come back at the same place. */
  static async start({ listen = "127.0.0.1:0", config = "" } = {}) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-media-"));
    const file = join(folder, "crosspoint.toml");
    await writeFile(file, `
[media]
addresses = ["127.0.0.1"]
listen = "127.0.0.1"
browser_listen = "127.0.0.1:0"
${config}`);
    const server = new MediaServer(folder);
    server.process = spawn(binary, ["media", "--json", "--config", file, "--listen", listen, "--http", "127.0.0.1:0"], {
      cwd: folder, stdio: ["ignore", "pipe", "pipe"],
    });
    server.exited = new Promise((resolve) => server.process.once("exit", resolve));
    createInterface({ input: server.process.stderr }).on("line", (line) => server.log.push(line));
    server.ready = await new Promise((resolve, reject) => {
      createInterface({ input: server.process.stdout }).on("line", (line) => {
        server.log.push(line);
        if (line.includes('"ready"')) resolve(JSON.parse(line));
      });
      server.process.once("error", reject);
      server.process.once("exit", (code) => reject(new Error(`exited with ${code}:\n${server.log.join("\n")}`)));
    });
    return server;
  }

  constructor(folder) {
    Object.assign(this, { folder, log: [] });
  }

  port(kind = "ng-udp") {
    return Number(this.ready.listeners.find((l) => l.kind === kind).address.split(":").pop());
  }

  ask(request, form) {
    return ask(this.port(), request, form);
  }

  metric(name) {
    return new Promise((resolve, reject) => {
      get({ host: "127.0.0.1", port: this.port("ng-http"), path: "/metrics" }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve(Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1])));
      }).on("error", reject);
    });
  }

  /** Nothing is left of any call. */
  async idle() {
    await until("no call is left", async () => (await this.metric("crosspoint_ng_calls")) === 0);
    await until("no media leg is left", async () => (await this.metric("crosspoint_media_legs")) === 0);
  }

  /** Dies like a process that crashed. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    await end(this.process, this.exited);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/**
 * The original, in user space. It records into the folder `recordings`, if there is one, and tells digits to the port `dtmfLog`.
 */
export class Rtpengine {
  static async start({ recordings, dtmfLog } = {}) {
    const recording = recordings ? [`--recording-dir=${recordings}`, "--recording-method=pcap", "--recording-format=eth"] : [];
    if (recordings) await mkdir(recordings, { recursive: true });
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-rtpengine-"));
    const server = new Rtpengine(folder, port);
    // It takes ports that others have, too, where both say SO_REUSEADDR, as Kamailio does and another rtpengine:
    // below what the kernel gives away, and where no other is.
    server.ports = await portRange();
    server.process = spawn("rtpengine", [
      "--table=-1", "--config-file=none", "--interface=127.0.0.1", `--listen-ng=127.0.0.1:${port}`,
      `--port-min=${server.ports.first}`, `--port-max=${server.ports.last}`, "-f", "-E", "--log-level=6", ...recording,
      ...(dtmfLog ? [`--dtmf-log-dest=127.0.0.1:${dtmfLog}`] : []),
    ], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    server.exited = new Promise((resolve) => server.process.once("exit", resolve));
    for (const stream of [server.process.stdout, server.process.stderr]) {
      // Without what is asked again and again, behind which all else would be lost.
      createInterface({ input: stream }).on("line", (line) => /'(ping|list|query)' from/.test(line) || server.log.push(line));
    }
    await until("rtpengine answers", async () => (await ask(port, { command: "ping" })).result === "pong");
    return server;
  }

  constructor(folder, at) {
    Object.assign(this, { folder, at, log: [] });
  }

  port() {
    return this.at;
  }

  ask(request, form) {
    return ask(this.at, request, form);
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    await end(this.process, this.exited);
    this.ports.release();
    await rm(this.folder, { recursive: true, force: true });
  }
}
