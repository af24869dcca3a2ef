// baresip, a desk phone.
import { DeskParty } from "../../e2e/lib/party.mjs";
import { until } from "../../e2e/lib/wait.mjs";
import { USERS } from "../../e2e/lib/world.mjs";
import { phonePeer } from "../phone.mjs";
import { installed } from "../program.mjs";

class Phone extends DeskParty {
  hears(other, options) {
    return this.phone.hears(other.tone, options);
  }
  moves(address) {
    // It looks once a minute.
    return this.phone.says(new RegExp(`^INVITE [^]*?c=IN IP4 ${address.replaceAll(".", "\\.")}`, "m"), { seconds: 90 });
  }
  /** What it hears after a re-INVITE is in no recording of its own: it counts what comes, in bits a second. */
  async hearsOn() {
    const from = this.phone.log.length;
    await until("baresip counts packets", () => /audio=\d+\/[4-9]\d{4} /.test(this.phone.log.slice(from)));
    return "by the count of what it receives";
  }
  async kill() {
    this.phone.process.kill("SIGKILL");
    await this.phone.exited;
  }
}

export const peer = phonePeer({
  name: "baresip",
  role: "A phone that signs in with us, and a trunk.",
  missing: "Debian package `baresip` is not installed.",
  version: () => installed("baresip"),
  async start(it, user, { unregistered, early, gateway = it.gateway, password = USERS[user].password, ...options } = {}) {
    const { Baresip } = await import("../../e2e/lib/baresip.mjs");
    const answer = early ? "early" : "manual";
    const phone = it.keep(await Baresip.start({ gateway, user, password, answer, ...options }));
    if (password && !unregistered) await phone.registered();
    return new Phone(phone, user);
  },
  lacks: {
    "session-refresh": "its SIP library (libre) has no session timers",
  },
});
