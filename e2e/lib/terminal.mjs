// A terminal of the call API: a Python program with grpcio and aiortc that does what it is told.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { end, until } from "./wait.mjs";

const folder = fileURLToPath(new URL("../grpc/", import.meta.url));
const proto = fileURLToPath(new URL("../../proto/", import.meta.url));
/** Where scripts/setup.sh puts it. */
export const python = process.env.E2E_PYTHON ?? `${folder}.venv/bin/python`;

/** The tone that terminals play, in Hz. */
export const TERMINAL_TONE = 700;

/** The fixed token of a server that speaks for every number. */
export const SERVER_TOKEN = "a-fixed-token-of-a-server";
process.env.CROSSPOINT_E2E_TOKEN = SERVER_TOKEN;
/** What makes a gateway know it. */
export const KNOWING_IT = '[[grpc_token]]\ntoken_env = "CROSSPOINT_E2E_TOKEN"\nany_number = true\n';

/** The numbers that terminals are called at. */
export const NUMBERS = { alice: "+4799000001", bob: "+4799000002", carol: "+4799000003" };

/** Gives users their numbers, which are those that they have outside from then on. */
export function giveNumbers(users) {
  for (const [user, number] of Object.entries(NUMBERS)) users[user].aliases.push(number);
}

/** What opens streams of a user's number. */
export const speaksFor = (number) => ({ authorization: `Bearer ${SERVER_TOKEN}`, "wg2-msisdn": number });

export class Terminal {
  static async start(gateway) {
    const terminal = new Terminal();
    const args = [`${folder}terminal.py`, "--host", gateway.host, "--port", gateway.port("https"), "--proto", proto, "--frequency", TERMINAL_TONE];
    terminal.process = spawn(python, args.map(String), { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, GRPC_VERBOSITY: "ERROR" } });
    terminal.exited = new Promise((resolve) => terminal.process.once("exit", resolve).once("error", resolve));
    createInterface({ input: terminal.process.stderr }).on("line", (line) => terminal.log.push(line));
    createInterface({ input: terminal.process.stdout }).on("line", (line) => {
      terminal.log.push(line.slice(0, 300));
      terminal.events.push(JSON.parse(line));
    });
    await terminal.event("ready", { seconds: 30 });
    return terminal;
  }

  constructor() {
    Object.assign(this, { user: "terminal", log: [], events: [] });
  }

  do(what, wish = {}) {
    this.process.stdin.write(`${JSON.stringify({ do: what, ...wish })}\n`);
  }

  /** Waits for an event of this kind and takes it. */
  async event(kind, options) {
    return until(`the terminal tells ${kind}`, () => {
      const at = this.events.findIndex((e) => e.event === kind);
      return at < 0 ? null : this.events.splice(at, 1)[0];
    }, options).catch((error) => {
      throw new Error(`${error.message}\n${this.log.slice(-15).join("\n")}`);
    });
  }

  /** Opens a stream and gives what came with its beginning. */
  async open(method, metadata) {
    this.do("open", { method, metadata });
    return (await this.event("open")).metadata;
  }

  /** Waits until the far end's tone is heard in a call. */
  async hears(call, frequency, options) {
    return until(`the terminal hears ${frequency} Hz`, async () => {
      this.do("heard", { call, frequency });
      return (await this.event("heard")).share > 0.5;
    }, options);
  }

  /** Waits until nothing has been heard in a call for a second. */
  async hearsNothing(call, options) {
    return until("the terminal hears silence", async () => {
      this.do("heard", { call, frequency: TERMINAL_TONE });
      return (await this.event("heard")).level < -60;
    }, options);
  }

  async stop() {
    this.process.stdin.end();
    await end(this.process, this.exited);
  }
}
