// Runs Twinkle's console phone, whose sound card is a PulseAudio of its own: it plays a tone and records what it hears.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bestToneShare, readWav } from "./audio.mjs";
import { freePort } from "./ports.mjs";
import { end, until } from "./wait.mjs";

const RATE = 8000;

export class Twinkle {
  /**
   * A phone signed in at the gateway over `transport` (udp or tcp). `dtmf` is rfc2833 or info. Without a `password` it signs
   * in nowhere and takes calls of its address.
   */
  static async start({ gateway, user, password, frequency = 440, transport = "udp", dtmf = "rfc2833", local }) {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-twinkle-"));
    await mkdir(join(folder, ".twinkle"));
    local ??= await freePort();
    const server = `${gateway.domain}:${gateway.port(transport)}`;
    const sound = `unix:${folder}/sound`;
    await writeFile(join(folder, ".asoundrc"), ["ear", "mouth"].map((name) =>
      `pcm.${name} { type pulse server "${sound}" device "${name === "ear" ? "ear" : "mouth.monitor"}" }\n`).join(""));
    await writeFile(join(folder, ".twinkle/phone.cfg"), `user_name=${user}
user_domain=${gateway.domain}
auth_name=${user}
auth_pass=${password}
outbound_proxy=${server}
registrar=${server}
register_at_startup=${password ? "yes" : "no"}
registration_time=300
codecs=g711u
sip_transport=${transport}
dtmf_transport=${dtmf}
ask_user_to_refer=no
speex_dsp_vad=no
speex_dsp_agc=no
speex_dsp_aec=no
speex_dsp_nrd=no
`);
    await writeFile(join(folder, ".twinkle/twinkle.sys"), `dev_speaker=alsa:ear
dev_mic=alsa:mouth
dev_ringtone=alsa:ear
validate_audio_dev=no
sip_port=${local}
rtp_port=${await freePort()}
play_ringtone=no
play_ringback=no
`);
    const phone = new Twinkle(folder, gateway.domain);
    Object.assign(phone, { user, local, server, env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, PULSE_SERVER: sound, DBUS_SESSION_BUS_ADDRESS: "" } });
    await phone.#soundCard(frequency);
    phone.process = phone.#program("twinkle-console", ["phone.cfg"]);
    for (const stream of [phone.process.stdout, phone.process.stderr]) stream.on("data", (chunk) => (phone.log += chunk));
    phone.process.stdin.on("error", () => {});
    phone.exited = phone.programs.at(-1).exited;
    await until("twinkle takes commands", () => phone.log.includes("Twinkle>"));
    return phone;
  }

  constructor(folder, domain) {
    Object.assign(this, { folder, domain, log: "", at: 0, programs: [] });
  }

  #program(name, args) {
    const child = spawn(name, args, { cwd: this.folder, env: this.env, stdio: ["pipe", "pipe", "pipe"] });
    this.programs.push({ child, exited: new Promise((resolve) => child.once("exit", resolve).once("error", resolve)) });
    return child;
  }

  /** Two cables: a tone that never ends is played into the one, which is its microphone; what it plays goes into the other. */
  async #soundCard(frequency) {
    const sinks = ["ear", "mouth"].flatMap((name) => ["-L", `module-null-sink sink_name=${name} rate=${RATE} channels=1`]);
    // With the rights of root it would run in real time, and be killed where a busy machine lets it run for long at once.
    const calm = ["--realtime=no", "--high-priority=no", "--no-cpu-limit=yes"];
    const pulse = this.#program("pulseaudio", ["-n", "--daemonize=no", ...calm, "--exit-idle-time=-1", "--use-pid-file=no", ...sinks, "-L", `module-sine sink=mouth frequency=${frequency}`, "-L", `module-native-protocol-unix auth-anonymous=1 socket=${this.folder}/sound`]);
    let told = "";
    for (const stream of [pulse.stdout, pulse.stderr]) stream.on("data", (chunk) => (told += chunk));
    pulse.once("exit", (code, signal) => (this.log += `\npulseaudio has ended: ${code ?? signal}\n${told.slice(-1000)}\n`));
    const asks = () => new Promise((resolve) => spawn("pactl", ["info"], { env: this.env, stdio: "ignore" }).once("exit", (code) => resolve(code === 0)).once("error", () => resolve(false)));
    await until(`pulseaudio is up${told}`, asks);
    this.#program("parec", ["--device=ear.monitor", `--rate=${RATE}`, "--channels=1", "--format=s16le", "--file-format=wav", join(this.folder, "heard.wav")]);
  }

  command(...lines) {
    for (const line of lines) this.process.stdin.write(`${line}\n`);
  }

  /** Waits until it says this, after what was waited for before. */
  async says(pattern, options) {
    try {
      return await until(`twinkle says ${pattern}`, () => {
        const found = pattern.exec(this.log.slice(this.at));
        if (found) this.at += found.index + found[0].length;
        return found;
      }, options);
    } catch (error) {
      throw new Error(`${error.message}\n${this.log.slice(-3000)}`);
    }
  }

  registered() {
    return this.says(/registration succeeded/);
  }

  /** Every message that it sent or received. */
  trace() {
    return readFile(join(this.folder, ".twinkle/twinkle.log"), "utf8").catch(() => "");
  }

  // The words of a party (party.mjs).

  async dial(target) {
    this.command(`call ${target}`);
  }
  rings() {
    return this.says(/incoming call/);
  }
  async answer() {
    this.command("answer");
  }
  async hangUp() {
    this.command("bye");
  }
  up() {
    return this.says(/call established|far end answered call/);
  }
  ended() {
    return this.says(/call ended|far end ended call|call released/);
  }
  async hold() {
    this.command("hold");
  }
  async unhold() {
    this.command("retrieve");
  }
  async press(key) {
    this.command(`dtmf ${key}`);
  }
  hearsDigit(key) {
    return this.says(new RegExp(`DTMF detected: ${key === "*" ? "\\*" : key}`));
  }
  async transfer(target) {
    this.command(`transfer ${target}`);
  }
  /** Asks somebody first; `join` ends it. */
  async consult(target) {
    this.command(`transfer -c ${target}`);
  }
  async join() {
    this.command("transfer -c");
  }
  async hears({ tone }, { fresh = false, ...options } = {}) {
    const read = () => readWav(join(this.folder, "heard.wav"), RATE).catch(() => ({ rate: RATE, samples: new Float64Array(0) }));
    const from = fresh ? (await read()).samples.length : 0;
    return until(`twinkle hears ${tone} Hz`, async () => {
      const { rate, samples } = await read();
      const found = bestToneShare({ rate, samples: samples.subarray(from) }, tone);
      return found.share > 0.5 ? found : null;
    }, options).catch((error) => {
      throw new Error(`${error.message}\n${this.log.slice(-3000)}`);
    });
  }
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    if (process.env.E2E_DEBUG) console.error((await this.trace()).slice(-8000), this.log);
    for (const { child, exited } of this.programs.reverse()) await end(child, exited);
    await rm(this.folder, { recursive: true, force: true });
  }
}
