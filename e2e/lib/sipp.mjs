// Runs one sipp scenario on a free port and tells how it ended.
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { uriHost } from "./gateway.mjs";
import { freePort } from "./ports.mjs";
import { until } from "./wait.mjs";

const scenarios = fileURLToPath(new URL("../scenarios/", import.meta.url));

/** Whether some program has this port, for UDP or TCP, by the tables of the system. */
async function isBound(port) {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const tables = ["udp", "udp6", "tcp", "tcp6"].map((name) => readFile(`/proc/net/${name}`, "utf8").catch(() => ""));
  const lines = (await Promise.all(tables)).join("\n").split("\n");
  return lines.some((line) => line.trim().split(/\s+/)[1]?.endsWith(local));
}

export class Sipp {
  /**
   * Starts scenario `name` against the gateway's listener.
   * `keys` fill the scenario's `[key]` fields, `more` with further header lines; `echo` sends back the RTP it receives.
   * `local` is the port to call from, any free one unless told.
   */
  static async start(name, { host = "127.0.0.1", local, port, transport = "u1", keys = {}, calls = 1, rate = 10, user = "test", password = "", echo = false, extra = [], limit = 60 }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-sipp-"));
    // sipp fills its own [key] fields in messages only, not in pauses.
    let text = await readFile(join(scenarios, `${name}.xml`), "utf8");
    for (const [key, value] of Object.entries({ more: "", ...keys })) text = text.replaceAll(`[${key}]`, String(value));
    await writeFile(join(folder, "scenario.xml"), text);
    local ??= await freePort(host);
    const media = await freePort(host);
    const args = [
      `${uriHost(host)}:${port}`, "-sf", "scenario.xml", "-i", host, "-p", String(local),
      "-mi", host, "-mp", String(media),
      "-m", String(calls), "-r", String(rate), "-t", transport, "-nostdin",
      "-s", user, "-au", user, "-ap", password, "-timeout", `${limit}s`, "-timeout_error",
      "-trace_err", "-error_file", "errors.txt", "-trace_msg", "-message_file", "messages.txt",
      ...(echo ? ["-rtp_echo"] : []), ...extra,
    ];
    const sipp = new Sipp(folder, local);
    sipp.process = spawn("sipp", args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, TERM: "dumb" } });
    sipp.process.stdout.resume();
    let stderr = "";
    sipp.process.stderr.on("data", (chunk) => (stderr = (stderr + chunk).slice(-4000)));
    sipp.exited = new Promise((resolve) => sipp.process.once("exit", (code) => resolve({ code, stderr })));
    // A call over TCP that comes too early is refused, and nobody repeats it.
    await until("sipp has its port", async () => sipp.process.exitCode !== null || (await isBound(local)));
    return sipp;
  }

  constructor(folder, port) {
    Object.assign(this, { folder, port });
  }

  messages() {
    return readFile(join(this.folder, "messages.txt"), "utf8").catch(() => "");
  }

  /** The messages received so far, each with its first line, its text and its headers by name. */
  async received() {
    const blocks = (await this.messages()).split(/^-{20,}.*$/m);
    return blocks.flatMap((block) => {
      const [, length, raw] = / message received \[(\d+)\] bytes :\n\n(.*)$/s.exec(block) ?? [];
      // The last one may be half written.
      return raw !== undefined && Buffer.byteLength(raw) >= Number(length) ? [raw.replaceAll("\r", "")] : [];
    }).map((text) => {
      const [head] = text.split("\n\n");
      const [line, ...fields] = head.split("\n");
      const header = (name) =>
        fields.find((f) => f.toLowerCase().startsWith(`${name.toLowerCase()}:`))?.slice(name.length + 1).trim();
      return { line, text, header };
    });
  }

  /** The requests of this method so far, each once: who is not answered in time says the same again. */
  async requests(method) {
    const all = (await this.received()).filter(({ line }) => line.startsWith(`${method} `));
    return all.filter(({ text }, at) => all.findIndex((first) => first.text === text) === at);
  }

  /** Waits until a message whose first line begins so was received. */
  receives(start) {
    return until(`sipp receives ${start}`, async () => (await this.received()).find((m) => m.line.startsWith(start)));
  }

  /** Waits until its request of this method was accepted. */
  accepted(method) {
    const is = ({ line, header }) => line.startsWith("SIP/2.0 200") && header("CSeq").endsWith(` ${method}`);
    return until(`its ${method} is accepted`, async () => (await this.received()).find(is));
  }

  /**
   * Lets a scenario go on whose next step is to receive an INFO that it does not answer: so a test says when. It has to be
   * there already, and know its call.
   */
  async nudge() {
    const { header } = await this.receives("");
    const nudge = (this.nudges = (this.nudges ?? 0) + 1);
    const socket = createSocket("udp4");
    await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
    const request = [
      "INFO sip:test SIP/2.0", `Via: SIP/2.0/UDP 127.0.0.1:${socket.address().port};branch=z9hG4bKnudge${nudge}`, "From: <sip:test>;tag=1", "To: <sip:test>",
      `Call-ID: ${header("Call-ID")}`, `CSeq: ${nudge} INFO`, "Content-Length: 0", "", "",
    ].join("\r\n");
    await new Promise((resolve) => socket.send(request, this.port, "127.0.0.1", resolve));
    socket.close();
  }

  /** Waits for the end; fails when a call did not go as the scenario says. */
  async done() {
    const { code, stderr } = await this.exited;
    if (code !== 0) {
      const errors = await readFile(join(this.folder, "errors.txt"), "utf8").catch(() => "");
      const messages = (await this.messages()).slice(-6000);
      throw new Error(`sipp ended with ${code}\n${stderr}\n${errors}\n${messages}`);
    }
  }

  async stop() {
    if (process.env.E2E_DEBUG) {
      const errors = await readFile(join(this.folder, "errors.txt"), "utf8").catch(() => "");
      console.error(errors, (await this.messages()).slice(-5000));
    }
    if (this.process.exitCode === null) this.process.kill("SIGKILL");
    await this.exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}
