// One way to drive them all: JsSIP, SIP.js, our SDK and a desk phone.
import { until } from "./wait.mjs";
import { BROWSER_TONE, PHONE_TONE } from "./world.mjs";

/** The kinds of a matrix. */
export const KINDS = ["jssip", "sdk", "phone"];

/** A signed-in party of this kind. */
export async function party(it, kind, user) {
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

class DeskParty {
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
