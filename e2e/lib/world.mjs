// A gateway, a browser and peers for one test file, taken down whatever happens.
import { after, before } from "node:test";
import { Baresip } from "./baresip.mjs";
import { Browser } from "./browser.mjs";
import { Gateway } from "./gateway.mjs";
import { Sipp } from "./sipp.mjs";

export const USERS = {
  alice: { password: "alice-secret", aliases: ["1001"] },
  bob: { password: "bob-secret", aliases: ["1002"] },
  carol: { password: "carol-secret", aliases: ["1003"] },
  // sipp never signs out, so each phone that waits for calls is a user of its own.
  ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`phone${n}`, { password: `phone${n}-secret` }])),
};

/** The tone that browsers play, in Hz. */
export const BROWSER_TONE = 1000;
/** The tone that baresip plays, in Hz. */
export const PHONE_TONE = 440;

/** Sets up a world before the file's tests and takes it down after them. */
export function world(options = {}) {
  const it = stage(options);
  before(() => it.setUp());
  after(() => it.takeDown());
  return it;
}

/** A world that somebody else sets up and takes down. */
export function stage(options = {}) {
  return {
    open: [],
    keep(thing) {
      this.open.push(thing);
      return thing;
    },
    async browser(library, user, extra) {
      const client = this.keep(await this.chromium.client(library, this.gateway, user, USERS[user].password, extra));
      await client.registered();
      return client;
    },
    async phone(user, extra = {}) {
      const phone = this.keep(await Baresip.start({ gateway: this.gateway, user, password: USERS[user].password, frequency: PHONE_TONE, ...extra }));
      await phone.registered();
      return phone;
    },
    async sipp(name, user, extra = {}) {
      const kind = extra.kind ?? "udp";
      // sipp knows where it calls, and writes an IPv6 address with its brackets.
      const keys = { domain: "[remote_ip]", hold: 500, ...extra.keys };
      return this.keep(await Sipp.start(name, { host: this.gateway.host, port: this.gateway.port(kind), transport: kind === "tcp" ? "t1" : "u1", user, password: USERS[user].password, ...extra, keys }));
    },
    /** Signs a sipp scenario in as a phone that will wait for calls on `port`. */
    async signIn(user, port, kind = "udp") {
      const register = await this.sipp("uac_register", user, { kind, keys: { contact_port: port } });
      await register.done();
    },
    /** A test's play, whose failure tells what everybody saw; what the gateway saw is told anyway. */
    telling(play) {
      return async (t) => {
        try {
          return await play(t);
        } catch (error) {
          const tell = (thing) => thing.log && `${thing.user ?? thing.folder}: ${[thing.log].flat().slice(-40).join("\n").slice(-2500)}`;
          error.message += `\n${this.open.map(tell).filter(Boolean).join("\n")}`;
          throw error;
        }
      };
    },
    async close() {
      for (const thing of this.open.splice(0).reverse()) await Promise.resolve((thing.leave ?? thing.close ?? thing.stop).call(thing)).catch(() => {});
    },
    async setUp() {
      this.gateway = await Gateway.start({ users: USERS, ...options });
      if (!options.withoutBrowser) this.chromium = await Browser.start({ frequency: BROWSER_TONE });
    },
    async takeDown() {
      await this.close();
      await this.chromium?.stop();
      await this.gateway?.remove();
    },
  };
}
