// Runs Linphone's console phone: it plays a tone and records what it hears.
import { spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bestToneShare, readWav, writeTone } from "./audio.mjs";
import { freePort } from "./ports.mjs";
import { end, until } from "./wait.mjs";

const RATE = 8000;

export class Linphone {
  /**
   * A phone signed in at the gateway over `transport` (udp, tcp or tls). `ca` is the PEM file of the authority it trusts
   * for TLS, `interval` the seconds of session timers that it asks for; `dtmf` is rfc4733 or info; with
   * `early` it plays its tone before it answers. Without a `password` it signs in nowhere and takes
   * calls of its address. It looks for the gateway at `name`: certificates for bare addresses are none to it. It runs in the network namespace `namespace` if there is one, at `host`.
   */
  static async start({ gateway, user, password, frequency = 440, transport = "udp", ca, interval, dtmf = "rfc4733", early = false, local, host = "127.0.0.1", name = gateway.domain, namespace }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-linphone-"));
    await mkdir(join(folder, ".local/share/linphone"), { recursive: true });
    await writeTone(join(folder, "tone.wav"), { frequency, seconds: 300, rate: RATE });
    local ??= await freePort();
    const port = gateway.port(transport);
    const server = `${gateway.domain}:${port};transport=${transport}`;
    const media = await freePort();
    const account = password && `
[proxy_0]
reg_proxy=<sip:${name}:${port};transport=${transport}>
reg_identity=sip:${user}@${gateway.domain}
reg_expires=120
reg_sendregister=1

[auth_info_0]
username=${user}
passwd=${password}
`;
    await writeFile(join(folder, "rc"), `
[sip]
sip_port=${transport === "udp" ? local : 0}
sip_tcp_port=${transport === "tcp" ? local : 0}
sip_tls_port=${transport === "tls" ? local : 0}
use_ipv6=0
default_proxy=${password ? 0 : -1}
contact="${user}" <sip:${user}@${host}>
${ca ? `root_ca=${ca}` : ""}
${interval ? `session_expires_enabled=1\nsession_expires_value=${interval}\nsession_expires_min_value=90` : ""}
use_info=${dtmf === "info" ? 1 : 0}
use_rfc2833=${dtmf === "info" ? 0 : 1}
incoming_calls_early_media=${early ? 1 : 0}

[rtp]
audio_rtp_port=${media}

[video]
enabled=0
${[["PCMU", 8000], ["opus", 48000], ["speex", 16000], ["speex", 8000], ["PCMA", 8000], ["GSM", 8000], ["G722", 8000]].map(([mime, rate], at) => `
[audio_codec_${at}]
mime=${mime}
rate=${rate}
channels=${mime === "opus" ? 2 : 1}
enabled=${mime === "PCMU" ? 1 : 0}
`).join("")}${account ?? ""}`);
    const phone = new Linphone(folder, server);
    const [program, ...args] = [...(namespace?.prefix ?? []), "linphonec", "-c", join(folder, "rc"), "-d", "6", "-l", join(folder, "log")];
    phone.process = spawn(program, args, { cwd: folder, env: { ...process.env, HOME: folder }, stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [phone.process.stdout, phone.process.stderr]) stream.on("data", (chunk) => phone.#note(chunk));
    phone.process.stdin.on("error", () => {});
    phone.exited = new Promise((resolve) => phone.process.once("exit", resolve));
    await until("linphone takes commands", () => phone.log.includes("linphonec>"));
    if (early) phone.command(`ringback ${join(folder, "tone.wav")}`);
    phone.command("soundcard use files", `play ${join(folder, "tone.wav")}`, `record ${join(folder, "heard.wav")}`);
    return Object.assign(phone, { local, user });
  }

  constructor(folder, server) {
    Object.assign(this, { folder, server, log: "", at: 0 });
  }

  #note(chunk) {
    this.log += chunk;
  }

  command(...lines) {
    for (const line of lines) this.process.stdin.write(`${line}\n`);
  }

  /** Waits until it says this, after what was waited for before. */
  async says(pattern, options) {
    try {
      return await until(`linphone says ${pattern}`, () => {
        const found = new RegExp(pattern).exec(this.log.slice(this.at));
        if (found) this.at += found.index + found[0].length;
        return found;
      }, options);
    } catch (error) {
      throw new Error(`${error.message}\n${this.log.slice(-4000)}`);
    }
  }

  registered() {
    return this.traces(/moving from state \[\w+\] to \[LinphoneRegistrationOk\]/);
  }

  /** What it wrote to its log, with every message that it sent or received. */
  trace() {
    return readFile(join(this.folder, "log"), "utf8").catch(() => "");
  }

  /** Waits until its log has this after `from`, the length that it had before. */
  traces(pattern, { from = 0, ...options } = {}) {
    return until(`linphone's log has ${pattern}`, async () => pattern.exec((await this.trace()).slice(from)), options);
  }

  // The words of a party (party.mjs).

  async dial(target) {
    this.command(`call sip:${target}@${this.server}`);
    [, this.call] = await this.says("assigned id (\\d+)");
  }
  async rings() {
    [, this.call] = await this.says("new incoming call from .* assigned id (\\d+)");
  }
  hearsRinging() {
    return this.says("ringing\\.");
  }
  async answer() {
    this.command(`answer ${this.call}`);
  }
  async hangUp() {
    this.command(`terminate ${this.call}`);
  }
  up() {
    return this.says("Media streams established");
  }
  ended() {
    return this.says("Call \\d+ with .* (ended|error)");
  }
  async hold() {
    this.command("pause");
    await this.says("is now paused");
    this.held = this.call;
  }
  async unhold() {
    this.command(`resume ${this.call}`);
    await this.up();
  }
  isHeld() {
    return this.says("has been paused by");
  }
  async press(key) {
    this.command(key);
  }
  hearsDigit(key) {
    return this.says(`Receiving tone ${key === "*" ? "\\*" : key} from`);
  }
  async transfer(target) {
    this.command(`transfer ${this.call} sip:${target}@${this.server}`);
  }
  /** Joins the far side of the call it holds with that of the call it is in. */
  async join() {
    this.command(`transfer ${this.held} --to-call ${this.call}`);
  }
  /** Waits until its recording has this tone; when `fresh`, what it hears from now on. */
  async hears({ tone }, { fresh = false, ...options } = {}) {
    const file = join(this.folder, "heard.wav");
    const read = () => readWav(file, RATE).catch(() => ({ rate: RATE, samples: new Float64Array(0) }));
    const from = fresh ? (await read()).samples.length : 0;
    return until(`linphone hears ${tone} Hz`, async () => {
      const { rate, samples } = await read();
      // Each call begins a recording of its own.
      const found = bestToneShare({ rate, samples: samples.length < from ? samples : samples.subarray(from) }, tone);
      return found.share > 0.5 ? found : null;
    }, options).catch((error) => {
      throw new Error(`${error.message}\n${this.log.slice(-4000)}`);
    });
  }
  /** Waits until it finds that the gateway's certificate is not to be trusted. */
  distrusts() {
    return this.traces(/certificate.*(not|fail|error)/i);
  }
  /** Waits until the interval of the session is refreshed; tells by what. */
  async refreshes() {
    const from = (await this.trace()).length;
    const [, method] = await this.traces(/^(INVITE|UPDATE) sip:[^]*?^Session-Expires: \d+/m, { from, seconds: 80 });
    return `${method} with Session-Expires is seen`;
  }
  moves(address) {
    return this.traces(new RegExp(`^INVITE sip:[^]*?c=IN IP4 ${address.replaceAll(".", "\\.")}`, "m"), { seconds: 90 });
  }
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    if (process.env.E2E_DEBUG) await copyFile(join(this.folder, "log"), `/tmp/linphone-${this.user}.log`);
    await end(this.process, this.exited);
    await rm(this.folder, { recursive: true, force: true });
  }
}
