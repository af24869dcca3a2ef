// Runs baresip as a phone that plays a tone and records what it hears.
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bestToneShare, readWav, writeTone } from "./audio.mjs";
import { freePort } from "./sipp.mjs";
import { end, until } from "./wait.mjs";

export class Baresip {
  /** A phone signed in at the gateway. `transport` is udp, tcp or tls; `mediaenc` e.g. srtp. */
  static async start(options) {
    // Another program may take a port between our look and baresip's: then it exits at once.
    for (let tries = 1; ; tries++) {
      const phone = await Baresip.#launch(options);
      if (await phone.#connect()) return phone;
      await phone.stop();
      if (tries === 3) throw new Error(`baresip does not start\n${phone.log}`);
    }
  }

  static async #launch({ gateway, user, password, frequency = 440, transport = "udp", mediaenc = "", codecs = "pcmu", answer = "manual" }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-baresip-"));
    const control = await freePort();
    const local = await freePort();
    // The file has the codec's own rate: this baresip does not resample what it plays.
    const rate = codecs.startsWith("g722") ? 16000 : 8000;
    await writeTone(join(folder, "tone.wav"), { frequency, seconds: 60, rate });
    const modules = ["aufile", "aubridge", "sndfile", "g711", "g722", "opus", "srtp"];
    await writeFile(join(folder, "config"), `
poll_method epoll
sip_listen 127.0.0.1:${local}
sip_verify_server no
audio_path /usr/share/baresip
audio_source aufile,${folder}/tone.wav
audio_player aubridge,sink
audio_alert aubridge,alert
ausrc_srate ${rate}
auplay_srate ${rate}
rtp_ports ${2 * Math.floor((await freePort()) / 2)}-65000
net_interface 127.0.0.1
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
      `<sip:${user}@${gateway.domain}:${port};transport=${transport}>;auth_pass=${password};regint=60;audio_codecs=${codecs};answermode=${answer}${media}\n`);
    await writeFile(join(folder, "contacts"), "");
    const phone = new Baresip(folder, control, `${gateway.domain}:${port};transport=${transport}`);
    phone.process = spawn("baresip", ["-f", folder, "-v"], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [phone.process.stdout, phone.process.stderr]) {
      stream.on("data", (chunk) => (phone.log = (phone.log + chunk).slice(-8000)));
    }
    phone.exited = new Promise((resolve) => phone.process.once("exit", resolve));
    return phone;
  }

  constructor(folder, control, server) {
    Object.assign(this, { folder, control, server, log: "", events: [] });
  }

  async #connect() {
    const attempt = () =>
      new Promise((resolve) => {
        const socket = connect(this.control, "127.0.0.1");
        socket.once("connect", () => resolve(socket)).once("error", () => resolve(null));
      });
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
    return true;
  }

  command(command, params = "") {
    const text = JSON.stringify({ command, params });
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

  dial(target) {
    this.command("dial", `sip:${target}@${this.server}`);
  }

  /** Waits until the recording of what it received holds this tone. */
  async hears(frequency, options) {
    return until(`baresip hears ${frequency} Hz`, async () => {
      for (const name of await readdir(this.folder)) {
        if (!/^dump-.*-dec\.wav$/.test(name)) continue;
        const found = bestToneShare(await readWav(join(this.folder, name)), frequency);
        if (found.share > 0.5) return found;
      }
      return null;
    }, options).catch((error) => {
      throw new Error(`${error.message}\n${this.log}`);
    });
  }

  async stop() {
    this.socket?.destroy();
    await end(this.process, this.exited);
    await rm(this.folder, { recursive: true, force: true });
  }
}
