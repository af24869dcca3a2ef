// The phone behind the page: one client, its calls, and which of them has the user's ear.
import { Client, preflight, type Account, type Call, type ElsewhereCall, type PreflightReport, type PreflightStep, type QualityReport } from "@crosspoint/client";
import { Bell } from "./bell";
import { Book, type Recent } from "./book";
import { endText, errorText, numberOf } from "./words";

export type Stage = "restoring" | "signed-out" | "signing-in" | "signed-in";

/** How many readings the chart of a call shows. */
const READINGS_MAX = 60;
/** Between two readings, in ms: the chart moves while one looks. */
const READING_INTERVAL = 1_000;
/** When a gateway that was away is asked again, in ms. */
const TRY_AGAIN = 2_000;
/** The audio account of a session; others are for browser-to-browser calls. */
const NETWORK = "sip";
/** The number that gives back what it hears. */
const ECHO = "600";

export class Phone {
  readonly book = new Book();
  readonly bell = new Bell();
  stage: Stage = "restoring";
  /** The socket is lost and is being brought back. */
  offline = false;
  /** What the user should know now. */
  notice = "";
  /** What a screen reader should say now. */
  announcement = "";
  /** The call whose controls are large; the others are small beside it. */
  focus: Call | undefined;
  readonly readings = new WeakMap<Call, QualityReport[]>();
  check: { running: boolean; steps: PreflightStep[]; report?: PreflightReport } = { running: false, steps: [] };
  devices: MediaDeviceInfo[] = [];

  /** Calls whose picture is being changed. */
  readonly #turning = new WeakSet<Call>();
  #client: Client | undefined;
  readonly #players = new Map<Call, HTMLAudioElement>();
  readonly #listeners = new Set<() => void>();

  constructor() {
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.findDevices());
    setInterval(() => this.calls.length > 0 && this.changed(), 1000);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** The calls that people see: not the one of the check. */
  get calls(): readonly Call[] {
    return [...this.#players.keys()];
  }

  get account(): Account | undefined {
    return this.#client?.account(NETWORK);
  }

  /** The user's calls on other devices. */
  get elsewhere(): readonly ElsewhereCall[] {
    return this.account?.calls ?? [];
  }

  get incoming(): Call | undefined {
    return this.calls.find((call) => call.state === "incoming");
  }

  name(call: Pick<Call, "peer">): string {
    const number = numberOf(call.peer);
    return this.book.name(number) ?? call.peer.displayName ?? number;
  }

  // Signing in and out.

  /** Goes on where a reload interrupted. */
  async restore(): Promise<void> {
    const client = Client.restore({ qualityInterval: READING_INTERVAL, accounts: [NETWORK] });
    if (client) await this.#connect(client);
    else this.#enter("signed-out");
  }

  async signIn(user: string, password: string): Promise<void> {
    this.notice = "";
    this.#enter("signing-in");
    try {
      const client = await Client.signIn({
        baseUrl: location.origin,
        user,
        password,
        qualityInterval: READING_INTERVAL,
        accounts: [NETWORK],
      });
      this.book.set({ user });
      await this.#connect(client);
    } catch (error) {
      this.tell(errorText(error));
      this.#enter("signed-out");
    }
  }

  signOut(): void {
    this.#client?.disconnect();
  }

  async #connect(client: Client): Promise<void> {
    this.#client = client;
    client.on("call", (call) => this.#follow(call));
    client.on("incoming", (call) => this.#rings(call));
    client.on("reconnecting", () => this.#online(false));
    client.on("reconnected", () => this.#online(true));
    client.on("closed", (error) => {
      if (client !== this.#client) return;
      this.#client = undefined;
      this.offline = false;
      if (error?.code === "unreachable" && this.stage === "restoring") {
        this.tell(errorText(error));
        setTimeout(() => void this.restore(), TRY_AGAIN);
        return;
      }
      if (error) this.tell(errorText(error));
      this.#enter("signed-out");
    });
    const { microphone, camera } = this.book.settings;
    if (microphone) void client.setMicrophone(microphone).catch(() => {});
    if (camera) void client.setCamera(camera).catch(() => {});
    try {
      await client.connect();
    } catch {
      // Told by `closed`.
      return;
    }
    this.tell("");
    this.#online(true);
    this.account?.on("state", (state, reason) => {
      if (state === "failed") this.tell(reason === "unauthorized" ? "Wrong user or password." : "Calls are not possible now.");
      this.changed();
    });
    this.account?.on("calls", () => this.changed());
    this.#enter("signed-in");
    void this.findDevices();
  }

  #online(online: boolean): void {
    this.offline = !online;
    this.changed();
  }

  #enter(stage: Stage): void {
    this.stage = stage;
    this.changed();
  }

  // Calls.

  dial(target: string, video = false): void {
    const number = target.replace(/[\s()]/g, "");
    if (!this.account || number === "") return;
    this.tell("");
    try {
      this.focus = this.account.call(number, video ? { video } : {});
      this.#others(this.focus);
    } catch (error) {
      this.tell(errorText(error));
    }
    this.changed();
  }

  async answer(call = this.incoming, video = false): Promise<void> {
    if (!call) return;
    this.focus = call;
    this.#others(call);
    await this.attempt(call.accept(video ? { video } : {}));
  }

  pull(gcid: string): void {
    try {
      this.focus = this.account?.pull(gcid);
      if (this.focus) this.#others(this.focus);
    } catch (error) {
      this.tell(errorText(error));
    }
    this.changed();
  }

  toggleMute(call = this.focus): void {
    if (!call) return;
    if (call.muted) call.unmute();
    else call.mute();
    this.say(call.muted ? "Muted" : "Microphone on");
  }

  /** Whether the camera is on its way on or off. */
  isTurning(call: Call): boolean {
    return this.#turning.has(call);
  }

  async toggleCamera(call = this.focus): Promise<void> {
    if (!call || call.state !== "active" || this.#turning.has(call)) return;
    this.#turning.add(call);
    this.changed();
    try {
      await (call.localStream ? call.removeVideo() : call.addVideo());
      this.say(call.localStream ? "Camera on" : "Camera off");
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "change-refused") this.tell("The other side takes no pictures.");
      else if (code !== "call-ended") this.tell(errorText(error));
    }
    this.#turning.delete(call);
    this.changed();
  }

  async toggleHold(call = this.focus): Promise<void> {
    if (!call || call.state !== "active") return;
    if (call.held) await this.talk(call);
    else await this.attempt(call.hold());
  }

  /** Gives the user's ear to one call; the others wait. */
  async talk(call: Call): Promise<void> {
    this.focus = call;
    this.#others(call);
    if (call.state === "active" && call.held) await this.attempt(call.unhold());
    this.changed();
  }

  /** To the other of two calls. */
  async swap(): Promise<void> {
    const other = this.calls.find((call) => call !== this.focus && call.state === "active");
    if (other) await this.talk(other);
  }

  press(key: string, call = this.focus): void {
    this.bell.key(key);
    if (call && ["active", "ringing"].includes(call.state)) call.sendDtmf(key);
  }

  transfer(call: Call, target: string): Promise<void> {
    const number = target.trim();
    return number === "" ? Promise.resolve() : this.attempt(call.transfer(number));
  }

  /** Waits for something that may fail, and tells the user when it does. */
  async attempt(promise: Promise<unknown>): Promise<void> {
    try {
      await promise;
    } catch (error) {
      if ((error as { code?: string }).code !== "call-ended") this.tell(errorText(error));
    }
    this.changed();
  }

  #others(chosen: Call): void {
    for (const call of this.calls) {
      if (call !== chosen && call.state === "active" && !call.held) void this.attempt(call.hold());
    }
  }

  #follow(call: Call): void {
    if (this.check.running && call.direction === "outgoing" && numberOf(call.peer) === ECHO) return;
    const player = new Audio();
    this.#players.set(call, player);
    this.#sink(player);
    call.attach(player);
    // An incoming call is looked at before it has the ear.
    if (call.state !== "incoming") this.focus ??= call;
    const readings: QualityReport[] = [];
    this.readings.set(call, readings);
    call.on("quality", (report) => {
      readings.push(report);
      if (readings.length > READINGS_MAX) readings.shift();
      this.changed();
    });
    call.on("state", (state) => {
      if (state === "active") this.say(`Connected with ${this.name(call)}`);
      if (state === "reconnecting") this.say("Reconnecting");
      this.#ring();
    });
    call.on("remotevideo", (shown) => this.say(shown ? `${this.name(call)} shows a picture` : "No picture any more"));
    call.on("changed", () => this.changed());
    call.on("ended", () => this.#over(call));
    this.#ring();
    this.changed();
  }

  #rings(call: Call): void {
    const name = this.name(call);
    this.say(call.offersVideo ? `${name} is calling with video` : `${name} is calling`);
    this.bell.notify(name);
    this.#ring();
  }

  #over(call: Call): void {
    this.#players.delete(call);
    const { answeredAt } = call;
    const recent: Recent = { number: numberOf(call.peer), name: this.name(call), direction: call.direction, at: call.startedAt.getTime() };
    if (answeredAt) recent.seconds = (Date.now() - answeredAt.getTime()) / 1000;
    else if (call.end?.reason === "answeredElsewhere") recent.ended = "elsewhere";
    else if (call.end?.by === "local") recent.ended = "declined";
    this.book.note(recent);
    if (this.focus === call) this.focus = this.calls.find((other) => other.state !== "incoming");
    this.say("Call ended");
    this.tell(endText(call));
    this.#ring();
  }

  /** What is to be heard while nobody talks. */
  #ring(): void {
    const { ringer, speaker } = this.book.settings;
    const talking = this.calls.some((call) => call.state === "active");
    const early = this.calls.some((call) => call.state === "ringing" && !call.remoteStream);
    if (this.incoming) this.bell.play(talking ? "waiting" : "ring", talking ? speaker : ringer);
    else this.bell.play(early ? "ringback" : undefined, speaker);
    if (!this.incoming) this.bell.quiet();
    this.changed();
  }

  // Devices and settings.

  async findDevices(): Promise<void> {
    this.devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    this.changed();
  }

  /** Names of devices are told only to a page that may hear. */
  async askForNames(): Promise<void> {
    const video = this.devices.some((device) => device.kind === "videoinput");
    await this.attempt(
      navigator.mediaDevices.getUserMedia({ audio: true, video }).then((stream) => {
        for (const track of stream.getTracks()) track.stop();
      }),
    );
    await this.findDevices();
  }

  async choose(kind: "microphone" | "camera" | "speaker" | "ringer", device: string): Promise<void> {
    this.book.set({ [kind]: device });
    if (kind === "microphone") await this.attempt(this.#client?.setMicrophone(device) ?? Promise.resolve());
    if (kind === "camera") await this.attempt(this.#client?.setCamera(device) ?? Promise.resolve());
    for (const player of this.#players.values()) this.#sink(player);
    this.changed();
  }

  #sink(player: HTMLAudioElement): void {
    const settable = player as { setSinkId?(id: string): Promise<void> };
    void settable.setSinkId?.(this.book.settings.speaker).catch(() => {});
  }

  // The check before a call that matters.

  async runCheck(): Promise<void> {
    const client = this.#client;
    if (!client || this.check.running) return;
    this.check = { running: true, steps: [] };
    this.changed();
    const report = await preflight(client, {
      account: NETWORK,
      echo: ECHO,
      onStep: (step) => {
        this.check = { ...this.check, steps: [...this.check.steps, step] };
        this.changed();
      },
    });
    this.check = { running: false, steps: [...report.steps], report };
    this.say(report.verdict === "passed" ? "Everything works" : "The check found something");
  }

  // Words.

  tell(notice: string): void {
    this.notice = notice;
    this.changed();
  }

  say(announcement: string): void {
    this.announcement = announcement;
    this.changed();
  }
}
