// Runs baresip as a phone that plays a tone and records what it hears.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { meanColour } from "./png.mjs";
import { bestToneShare, readWav, writeTone } from "./audio.mjs";
import { freePort } from "./ports.mjs";
import { end, until } from "./wait.mjs";

export class Baresip {
  /**
   * A phone signed in at the gateway. `transport` is udp, tcp or tls; `mediaenc` e.g. srtp; `ca` is the PEM file of the one
   * authority it trusts. Without a `password` it signs in nowhere and takes calls of its address. It runs in the network
   * namespace `namespace` if there is one, on interface `wire`.
   */
  static async start(options) {
    // Another program may take a port between our look and baresip's: then it exits at once.
    for (let tries = 1; ; tries++) {
      const phone = await Baresip.#launch(options);
      if (await phone.#connect()) return phone;
      await phone.stop();
      if (tries === 3) throw new Error(`baresip does not start\n${phone.log}`);
    }
  }

  static async #launch({ gateway, user, password, frequency = 440, transport = "udp", mediaenc = "", codecs = "pcmu", answer = "manual", video = "", ca, local, namespace }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-baresip-"));
    const control = await freePort();
    local ??= await freePort();
    // The file has the codec's own rate: this baresip does not resample what it plays.
    const rate = codecs.startsWith("g722") ? 16000 : 8000;
    await writeTone(join(folder, "tone.wav"), { frequency, seconds: 300, rate });
    const pictures = video ? ["fakevideo", "snapshot", video === "h264" ? "avcodec" : video] : [];
    const modules = [...pictures, "aufile", "aubridge", "sndfile", "g711", "g722", "opus", "srtp"];
    await writeFile(join(folder, "config"), `
poll_method epoll
sip_listen ${namespace ? "0.0.0.0" : "127.0.0.1"}:${local}
${ca ? `sip_verify_server yes\nsip_cafile ${ca}` : "sip_verify_server no"}
audio_path /usr/share/baresip
audio_source aufile,${folder}/tone.wav
audio_player aubridge,sink
audio_alert aubridge,alert
${video ? "video_source fakevideo,nil\nvideo_display fakevideo,nil\nvideo_size 320x240\nvideo_fps 15" : ""}
ausrc_srate ${rate}
auplay_srate ${rate}
rtp_ports 40000-65000
net_interface ${namespace ? "wire" : "127.0.0.1"}
dns_server 127.0.0.1:53
module_path /usr/lib/baresip/modules
${modules.map((m) => `module ${m}.so`).join("\n")}
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:${control}
snd_path ${folder}
`);
    const port = gateway.port(transport);
    const media = mediaenc ? `;mediaenc=${mediaenc}` : "";
    await writeFile(join(folder, "accounts"),
      `<sip:${user}@${gateway.domain}:${port};transport=${transport}>;${password ? `auth_pass=${password};regint=60` : "regint=0"};audio_codecs=${codecs};answermode=${answer}${media}${video ? `;video_codecs=${video}` : ""}\n`);
    await writeFile(join(folder, "contacts"), "");
    const phone = new Baresip(folder, control, `${gateway.domain}:${port};transport=${transport}`);
    phone.local = local;
    phone.prefix = namespace?.prefix ?? [];
    const [program, ...args] = [...phone.prefix, "baresip", "-f", folder, "-v", ...(namespace ? ["-s"] : [])];
    phone.process = spawn(program, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [phone.process.stdout, phone.process.stderr]) {
      stream.on("data", (chunk) => (phone.log = (phone.log + chunk).slice(-100_000)));
    }
    phone.exited = new Promise((resolve) => phone.process.once("exit", resolve));
    return phone;
  }

  constructor(folder, control, server) {
    Object.assign(this, { folder, control, server, log: "", events: [] });
  }

  async #connect() {
    const attempt = () => (this.prefix.length ? reach(this.prefix, this.control) : new Promise((resolve) => {
      const socket = connect(this.control, "127.0.0.1");
      socket.once("connect", () => resolve(socket)).once("error", () => resolve(null));
    }));
    const has = await until("baresip takes control connections or exits", async () => {
      const socket = await attempt();
      return socket ? { socket } : this.process.exitCode !== null && { socket: null };
    });
    if (!has.socket) return false;
    this.socket = has.socket;
    let buffer = Buffer.alloc(0);
    this.socket.on("data", (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      for (;;) {
        const colon = buffer.indexOf(":");
        if (colon < 0) return;
        const length = Number(buffer.subarray(0, colon));
        if (buffer.length < colon + length + 2) return;
        this.events.push(JSON.parse(buffer.subarray(colon + 1, colon + 1 + length).toString()));
        buffer = buffer.subarray(colon + length + 2);
      }
    });
    this.socket.on("error", () => {});
    // The kernel takes a connection before baresip does, which tells nobody of a call until then.
    this.command("about", "", "hello");
    await until("baresip listens to its control connection", () => this.events.some(({ token }) => token === "hello"));
    this.events = this.events.filter(({ token }) => token !== "hello");
    return true;
  }

  command(command, params = "", token = "") {
    const text = JSON.stringify({ command, params, token });
    this.socket.write(`${Buffer.byteLength(text)}:${text},`);
  }

  /** Waits for an event of this type and takes it. */
  async event(type, options) {
    try {
      return await until(`baresip reports ${type}`, () => {
        const at = this.events.findIndex((e) => e.type === type);
        return at < 0 ? null : this.events.splice(at, 1)[0];
      }, options);
    } catch (error) {
      throw new Error(`${error.message}\n${JSON.stringify(this.events)}\n${this.log}`);
    }
  }

  /** Signing in may be over before anybody listens for events; the log tells it in any case. */
  registered() {
    return until("baresip is registered", () => this.log.includes("200 OK"));
  }

  /** Waits until its log says this. */
  says(pattern, options) {
    return until(`baresip says ${pattern}`, () => pattern.test(this.log), options);
  }

  dial(target) {
    this.command("dial", `sip:${target}@${this.server}`);
  }

  async #recordings() {
    const names = (await readdir(this.folder)).filter((name) => /^dump-.*-dec\.wav$/.test(name));
    const read = (name) => readWav(join(this.folder, name)).then((wav) => [name, wav], () => null);
    return (await Promise.all(names.map(read))).filter(Boolean);
  }

  /** Waits until the recording of what it received holds this tone; when `fresh`, what it receives from now on. */
  async hears(frequency, { fresh = false, window = 0.5, ...options } = {}) {
    const before = new Map(fresh ? (await this.#recordings()).map(([name, { samples }]) => [name, samples.length]) : []);
    return until(`baresip hears ${frequency} Hz`, async () => {
      for (const [name, { rate, samples }] of await this.#recordings()) {
        const found = bestToneShare({ rate, samples: samples.subarray(before.get(name) ?? 0) }, frequency, window);
        if (found.share > 0.5) return found;
      }
      return null;
    }, options).catch(async (error) => {
      const lengths = (await this.#recordings()).map(([name, { samples }]) => `${name} ${samples.length} (${before.get(name)})`);
      throw new Error(`${error.message}\n${lengths.join("\n")}\n${this.log}`);
    });
  }

  /** Waits until the picture that it shows has this colour. */
  async sees(colour) {
    return until(`baresip sees ${colour}`, async () => {
      const file = join(this.folder, "seen.png");
      const mean = await readFile(file).then(meanColour, () => null);
      this.lastSeen = mean ?? this.lastSeen;
      // Range and matrix of colours are nobody's agreement: which one it is can be told all the same.
      if (mean?.every((c, i) => Math.abs(c - colour[i]) < 70)) return mean;
      this.command("snapshot_recv", file);
      return null;
    }, { seconds: 20 }).catch((error) => {
      throw new Error(`${error.message}, not ${this.lastSeen}\n${this.log}`);
    });
  }

  async stop() {
    this.socket?.destroy();
    await end(this.process, this.exited);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A TCP connection inside of a network namespace, or null. */
function reach(prefix, port) {
  const program = `const s = require("net").connect(${port}, "127.0.0.1");
    s.on("error", () => process.exit(1)).once("connect", () => { process.stdout.write("+"); process.stdin.pipe(s).pipe(process.stdout); });`;
  const [command, ...args] = [...prefix, process.execPath, "-e", program];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => {});
  return new Promise((resolve) => {
    child.once("exit", () => resolve(null));
    child.stdout.once("data", () => resolve({
      write: (text) => child.stdin.write(text),
      on: (name, take) => name === "data" && child.stdout.on("data", take),
      destroy: () => child.kill(),
    }));
  });
}
