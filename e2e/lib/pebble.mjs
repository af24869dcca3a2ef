// Pebble, the authority that tests of ACME clients are made for, on free ports of the loopback address, with a name server that
// sends every name there.
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificates } from "./certificates.mjs";
import { freePort } from "./ports.mjs";
import { end, until } from "./wait.mjs";

/** Answers every question for an address with 127.0.0.1, and every other with nothing. */
function nameServer() {
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => {
    let at = 12;
    while (question[at] !== 0) at += question[at] + 1;
    const isAddress = question.readUInt16BE(at + 1) === 1;
    const head = Buffer.from(question.subarray(0, at + 5));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(isAddress ? 1 : 0, 6);
    head.writeUInt32BE(0, 8);
    const answer = isAddress ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1] : [];
    socket.send(Buffer.concat([head, Buffer.from(answer)]), from.port, from.address);
  });
  return new Promise((resolve) => socket.bind(0, "127.0.0.1", () => resolve(socket)));
}

export class Pebble {
  /** `tlsPort` is where names are proved. */
  static async start({ tlsPort }) {
    const pebble = new Pebble();
    pebble.folder = mkdtempSync(join(tmpdir(), "crosspoint-pebble-"));
    pebble.pem = certificates();
    pebble.names = await nameServer();
    [pebble.port, pebble.management] = [await freePort(), await freePort()];
    const config = {
      pebble: {
        listenAddress: `127.0.0.1:${pebble.port}`,
        managementListenAddress: `127.0.0.1:${pebble.management}`,
        certificate: pebble.pem("ours.pem"),
        privateKey: pebble.pem("ours.key"),
        httpPort: 5002,
        tlsPort,
        ocspResponderURL: "",
        externalAccountBindingRequired: false,
      },
    };
    writeFileSync(join(pebble.folder, "pebble.json"), JSON.stringify(config));
    // It refuses some good nonces, so that clients show what they do then: so few that six in a row, at which they give up, do not happen.
    const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "10" };
    const args = ["-config", join(pebble.folder, "pebble.json"), "-dnsserver", `127.0.0.1:${pebble.names.address().port}`];
    pebble.process = spawn("pebble", args, { env, stdio: ["ignore", "pipe", "pipe"] });
    pebble.log = [];
    for (const stream of [pebble.process.stdout, pebble.process.stderr]) stream.on("data", (text) => pebble.log.push(String(text)));
    pebble.exited = new Promise((resolve) => pebble.process.once("exit", resolve));
    await until("pebble answers", () => pebble.get(pebble.port, "/dir").catch(() => null));
    return pebble;
  }

  get directory() {
    return `https://127.0.0.1:${this.port}/dir`;
  }

  /** The certificate that all of its are signed by. */
  root() {
    return this.get(this.management, "/roots/0");
  }

  get(port, path) {
    return new Promise((resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port, path, rejectUnauthorized: false }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk)).on("end", () => resolve(text));
      });
      asked.on("error", reject).end();
    });
  }

  async stop() {
    await end(this.process, this.exited);
    this.names.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
