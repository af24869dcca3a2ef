// The way that a browser's sound takes, as a test has it: a UDP relay that can swallow packets and change its address.
import { createSocket } from "node:dgram";

export class Air {
  /** Before the gateway's media port. A page comes this way when it is told `mediaPort`. */
  static async start(port) {
    const air = new Air(port);
    air.front = await open("127.0.0.1");
    air.front.on("message", (packet, { port: from }) => void air.#carry(packet, from));
    return air;
  }

  /** Nothing passes. */
  isSilent = false;
  #host = "127.0.0.1";
  /** The relay's socket towards the gateway for each of the browser's, as promises. */
  #backs = new Map();

  constructor(target) {
    this.target = target;
  }

  get port() {
    return this.front.address().port;
  }

  async #carry(packet, from) {
    if (this.isSilent) return;
    if (!this.#backs.has(from)) this.#backs.set(from, this.#back(from));
    (await this.#backs.get(from)).send(packet, this.target, "127.0.0.1");
  }

  async #back(from) {
    const back = await open(this.#host);
    back.on("message", (packet) => this.isSilent || this.front.send(packet, from, "127.0.0.1"));
    return back;
  }

  /** From now on packets reach the gateway from another address. */
  async move(host) {
    this.#host = host;
    await this.#close();
  }

  async #close() {
    const backs = [...this.#backs.values()];
    this.#backs.clear();
    for (const back of backs) (await back).close();
  }

  async stop() {
    // Nothing that still comes opens another socket.
    this.isSilent = true;
    await this.#close();
    this.front.close();
  }
}

/** A socket on a free port. */
function open(host) {
  const socket = createSocket("udp4");
  // A packet for a socket that has just gone is lost, as on any way.
  socket.on("error", () => {});
  return new Promise((resolve) => socket.bind(0, host, () => resolve(socket)));
}
