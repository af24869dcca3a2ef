// A wire between a browser and the gateway that a test can cut: a TCP relay of its own.
import { connect, createServer } from "node:net";

export class Wire {
  /** A wire to one of the gateway's ports. `from` is the address it comes from. */
  static async start({ host = "127.0.0.1", port, from }) {
    const wire = new Wire(host, port, from);
    await new Promise((resolve) => wire.server.listen(0, host, resolve));
    return wire;
  }

  constructor(host, port, from) {
    Object.assign(this, { host, port, from, ends: new Set(), isDown: false });
    this.server = createServer((near) => this.#carry(near));
  }

  /** What a page connects to instead of the gateway's own URL. */
  url(path = "/ws") {
    return `wss://${this.host}:${this.server.address().port}${path}`;
  }

  #carry(near) {
    if (this.isDown) return near.resetAndDestroy();
    const far = connect({ host: this.host, port: this.port, localAddress: this.from });
    for (const [a, b] of [[near, far], [far, near]]) {
      this.ends.add(a);
      a.on("data", (data) => b.write(data));
      a.on("error", () => {});
      a.on("close", () => {
        this.ends.delete(a);
        b.destroy();
      });
    }
  }

  /** Breaks every connection at once, without a word of goodbye. New ones are taken. */
  cut() {
    for (const end of this.ends) end.resetAndDestroy();
  }

  /** Breaks every connection and takes no new one until `restore`. */
  takeDown() {
    this.isDown = true;
    this.cut();
  }

  restore() {
    this.isDown = false;
  }

  async stop() {
    this.takeDown();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
