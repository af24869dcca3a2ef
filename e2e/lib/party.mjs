// One way to drive them all: JsSIP, SIP.js, our SDK, a terminal of the call API and a desk phone.
import { randomUUID } from "node:crypto";
import { NUMBERS, TERMINAL_TONE, Terminal, speaksFor } from "./terminal.mjs";
import { until } from "./wait.mjs";
import { BROWSER_TONE, PHONE_TONE } from "./world.mjs";

/** The kinds that can do everything. */
export const KINDS = ["jssip", "sdk", "phone"];
/** And the one whose protocol knows no transfer, and whose aiortc no telephone-event. */
export const TERMINAL = "terminal";

/** A signed-in party of this kind. */
export async function party(it, kind, user) {
  if (kind === TERMINAL) return TerminalParty.start(it, user);
  if (kind === "phone") return new DeskParty(await it.phone(user), user);
  return new PageParty(await it.browser(kind, user), kind, user);
}

class PageParty {
  tone = BROWSER_TONE;
  constructor(client, kind, user) {
    Object.assign(this, { client, kind, user });
  }
  dial(target) {
    return this.client.do("dial", target);
  }
  rings() {
    return this.client.event("incoming");
  }
  /** It rings over there. */
  hearsRinging() {
    return this.client.event("progress");
  }
  answer() {
    return this.client.do("answer");
  }
  reject() {
    return this.client.do("reject", 603);
  }
  hangUp() {
    return this.client.do("hangUp");
  }
  up() {
    return this.client.event("confirmed");
  }
  ended() {
    return this.client.event("ended");
  }
  /** It never came to be. */
  failed() {
    return this.client.event("failed");
  }
  hold() {
    return this.client.do("hold");
  }
  unhold() {
    return this.client.do("unhold");
  }
  isHeld() {
    return this.client.event("hold-remote");
  }
  isUnheld() {
    return this.client.event("unhold-remote");
  }
  press(key) {
    return this.client.do("digit", key);
  }
  transfer(target) {
    return this.client.do("refer", target);
  }
  hears(other) {
    return this.client.hears(other.tone);
  }
  hearsNothing() {
    return this.client.hearsNothing();
  }
  /** A browser plays digits that come as RTP events to nobody; only the SDK is told of them. */
  async hearsDigit(key) {
    if (this.kind !== "sdk") return;
    await until(`${this.user} is told of ${key}`, async () => (await this.client.event("dtmf")) === key);
  }
}

class TerminalParty {
  tone = TERMINAL_TONE;
  kind = TERMINAL;

  static async start(it, user) {
    const terminal = it.keep(await Terminal.start(it.gateway));
    await terminal.open("MultiPipe", speaksFor(NUMBERS[user]));
    return new TerminalParty(terminal, user);
  }
  constructor(terminal, user) {
    Object.assign(this, { terminal, user });
  }
  async dial(number) {
    this.isCaller = true;
    this.call = randomUUID();
    this.terminal.do("dial", { call: this.call, number });
  }
  async rings() {
    this.isCaller = false;
    this.call = (await this.terminal.event("offer")).call;
    this.terminal.do("ringing");
  }
  hearsRinging() {
    return this.terminal.event("ringing");
  }
  async answer() {
    this.terminal.do("answer");
  }
  async reject() {
    this.terminal.do("bye", { call: this.call });
    this.hasRejected = true;
  }
  async hangUp() {
    this.terminal.do("bye", { call: this.call });
  }
  /** Who answers is told nothing. */
  async up() {
    if (this.isCaller) await this.terminal.event("answer");
  }
  ended() {
    return this.terminal.event("bye");
  }
  /** Who rejects is told nothing. */
  async failed() {
    if (!this.hasRejected) await this.terminal.event("bye");
    this.hasRejected = false;
  }
  async hold() {
    this.terminal.do("turn", { call: this.call, direction: "inactive" });
    await this.terminal.event("answer");
  }
  async unhold() {
    this.terminal.do("turn", { call: this.call, direction: "sendrecv" });
    await this.terminal.event("answer");
  }
  /** By an offer of ours, which it answers. */
  isHeld() {
    return this.terminal.event("offer");
  }
  isUnheld() {
    return this.terminal.event("offer");
  }
  hears(other) {
    return this.terminal.hears(this.call, other.tone);
  }
  hearsNothing() {
    return this.terminal.hearsNothing(this.call);
  }
  // aiortc offers no telephone-event: what a digit is stays unheard.
  async hearsDigit() {}
}

export class DeskParty {
  tone = PHONE_TONE;
  kind = "phone";
  constructor(phone, user) {
    Object.assign(this, { phone, user });
  }
  async dial(target) {
    this.phone.dial(target);
  }
  rings() {
    return this.phone.event("CALL_INCOMING");
  }
  hearsRinging() {
    return this.phone.event("CALL_RINGING");
  }
  async answer() {
    this.phone.command("accept");
  }
  async reject() {
    this.phone.command("hangup");
  }
  async hangUp() {
    this.phone.command("hangup");
  }
  up() {
    return this.phone.event("CALL_ESTABLISHED");
  }
  ended() {
    return this.phone.event("CALL_CLOSED");
  }
  failed() {
    return this.phone.event("CALL_CLOSED");
  }
  async hold() {
    this.phone.command("hold");
  }
  async unhold() {
    this.phone.command("resume");
  }
  // It tells nobody that it is held: who holds it hears nothing of it.
  async isHeld() {}
  async isUnheld() {}
  async press(key) {
    this.phone.command("sndcode", key);
  }
  async transfer(target) {
    this.phone.command("transfer", `sip:${target}@${this.phone.server}`);
  }
  hears(other) {
    return this.phone.hears(other.tone);
  }
  // Its recording is of the whole call.
  async hearsNothing() {}
  hearsDigit(key) {
    return until(`${this.user} hears ${key}`, () =>
      this.phone.events.some((e) => e.type === "CALL_DTMF_START" && e.param === key));
  }
}
