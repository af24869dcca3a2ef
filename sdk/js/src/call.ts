// One call: its signalling, its media, and how it comes back after a loss.
import type { Account } from "./account.js";
import { Change } from "./change.js";
import type { AudioSource, Device, PictureSource, Tap, VideoSource } from "./device.js";
import { Emitter, type Unsubscribe } from "./emitter.js";
import { CrosspointError } from "./errors.js";
import { Media } from "./media.js";
import { Picture, type KeptPicture } from "./picture.js";
import type { Platform } from "./platform.js";
import { watchQuality, type QualityReport } from "./quality.js";
import { candidatesIn, hasVideo, readCandidate } from "./sdp.js";
import { text, type CallInfo, type Direction, type EndReason, type Fields, type Peer } from "./wire.js";

/**
 * - `calling`: placed, nobody rings yet.
 * - `ringing`: it rings over there. There may be sound already.
 * - `incoming`: it rings here; {@link Call.accept} or {@link Call.reject}.
 * - `connecting`: accepted or fetched here, the gateway has not confirmed it yet.
 * - `active`: both talk.
 * - `reconnecting`: sound is interrupted and is being brought back.
 * - `ended`: for good.
 */
export type CallState = "calling" | "ringing" | "incoming" | "connecting" | "active" | "reconnecting" | "ended";

/** How a call ended. */
export interface Ended {
  readonly reason: EndReason | (string & {});
  /** Who ended it: this side, or the far side and all between. */
  readonly by: "local" | "remote";
}

/** How a transfer goes on. */
export interface TransferProgress {
  readonly state: "trying" | "ringing" | "done" | "failed";
  readonly reason: string;
  /** Where the far side waits now, when the call was parked: whoever dials this takes it up. */
  readonly slot?: string | undefined;
}

/** Somebody who sent an incoming call on before it came here. */
export interface Diverted {
  readonly identifier: string;
  readonly reason: "unconditional" | "busy" | "no_answer" | "unavailable" | "deflection" | "unknown";
}

/** The way of a call in a message. @internal */
export function readDiverted(value: unknown): Diverted[] {
  if (!Array.isArray(value)) return [];
  const places = value.filter((place): place is Fields => typeof place === "object" && place !== null);
  return places.map((place) => ({ identifier: text(place, "identifier"), reason: text(place, "reason") as Diverted["reason"] }));
}

/** How one side of a call does, as the gateway sees it. Figures are there once they were measured. */
export interface SideGrade {
  /** `near` is this side: what the others hear of us. */
  readonly about: "near" | "far";
  /** `silent`: nothing has come from that side for three seconds. */
  readonly grade: "good" | "fair" | "poor" | "silent";
  /** Score of what that side says, 1 to 4.5. */
  readonly mos: number | undefined;
  /** Share of its packets that are lost, and of the packets to it, 0 to 1. */
  readonly loss: number | undefined;
  readonly lossOut: number | undefined;
  /** In ms. */
  readonly jitter: number | undefined;
  readonly roundTrip: number | undefined;
}

/** What a call reports. */
export interface CallEvents {
  /** The state is another. */
  state: [state: CallState, before: CallState];
  /** Something that a display shows is another: state, hold, mute, peer. */
  changed: [];
  /** The far side's sound, also before the answer, and its picture. Comes again when the call was brought back. */
  remotestream: [stream: MediaStream];
  /** A track of the far side is new in its stream. */
  track: [track: MediaStreamTrack, stream: MediaStream];
  /** The far side begins or ceases to show a picture: {@link Call.remoteVideo}. */
  remotevideo: [shown: boolean];
  /** Our own picture, to be shown here; another when the camera is, `undefined` when it is off. */
  localstream: [stream: MediaStream | undefined];
  /** Every five seconds of an active call (see {@link ClientOptions.qualityInterval}). */
  quality: [report: QualityReport];
  /** A side of the call does better or worse than before, as the gateway sees it. */
  grade: [grade: SideGrade];
  /** The far side pressed keys. */
  dtmf: [digits: string];
  transfer: [progress: TransferProgress];
  /**
   * The far side presses a button here, and may: `talk` asks to answer, or to resume, `hold` to hold. Nothing is done about it
   * unless the app does it.
   */
  press: [button: "talk" | "hold"];
  /** Sound is interrupted and is being brought back. */
  reconnecting: [];
  /** Sound is back. */
  reconnected: [];
  ended: [ended: Ended];
}

/** How to place or take a call. */
export interface CallOptions {
  /** What the far side hears; the client's microphone unless told otherwise. */
  audio?: AudioSource;
  /**
   * Pictures: `true` shows the client's camera; constraints or a track show another one. `"receive"` shows none and asks for
   * the far side's. `false` takes none either. Unless told otherwise none is shown or asked for, and the far side's is taken.
   */
  video?: VideoSource;
  /** Asks the called device to answer by itself, where the gateway lets this user (`features.auto_answer`). */
  autoAnswer?: boolean;
}

/** What is kept of a call over a reload. @internal */
export interface CallRecord {
  id: string;
  gcid: string;
  account: string;
  direction: Direction;
  state: CallState;
  peer: Peer;
  started: number;
  answered?: number | undefined;
  muted: boolean;
  held: boolean;
  video?: KeptPicture | undefined;
  videoMuted?: boolean | undefined;
  offer?: string | undefined;
  candidates?: RTCIceCandidateInit[] | undefined;
}

/** What a call needs of its client. @internal */
export interface CallHost {
  readonly platform: Platform;
  readonly microphone: Device;
  readonly camera: Device;
  readonly configuration: RTCConfiguration;
  readonly qualityInterval: number;
  readonly isOpen: boolean;
  send(method: string, to: string, body: Fields): void;
  /** The socket may lead nowhere: find out. */
  probe(): void;
  save(): void;
  renamed(call: Call, before: string): void;
  ended(call: Call): void;
}

/**
 * One call. {@link Account.call} places one, the client's `incoming` event brings one.
 *
 * It survives a lost socket, another network and a reload of the page without help; `reconnecting` and
 * `reconnected` tell when its sound is interrupted.
 */
export class Call extends Emitter<CallEvents> {
  /** The account that it belongs to. */
  readonly account: Account;
  readonly direction: Direction;
  /** Names the whole call, the same on both sides and over any takeover. */
  readonly gcid: string;
  /** When it began to ring or was placed. */
  readonly startedAt: Date;
  /** When it was answered. */
  answeredAt: Date | undefined;
  /** The other party. */
  peer: Peer;
  /** Whether this side has put it on hold. */
  held = false;
  /** Whether the far side has. */
  heldByPeer = false;
  /** Whether the microphone is silenced. */
  muted = false;
  /** The far side's sound, once there is any, and its picture, while it shows one. */
  remoteStream: MediaStream | undefined;
  /** How both sides do, as the gateway said last; good until it says otherwise. */
  readonly grades: { near: SideGrade | undefined; far: SideGrade | undefined } = { near: undefined, far: undefined };
  /** An incoming call asks to be answered at once, by somebody who may: an intercom. The app answers it, or does not. */
  autoAnswer = false;
  /** Who sent an incoming call on before it came here, latest first. */
  diverted: readonly Diverted[] = [];
  /** The last quality report. */
  quality: QualityReport | undefined;
  /** How it ended, once it has. */
  end: Ended | undefined;
  /** @internal */
  id: string;

  readonly #host: CallHost;
  #state: CallState;
  #offer: string | undefined;
  /** The far side's candidates for this offer, until there is a connection to take them. */
  #early: RTCIceCandidateInit[];
  #alive = false;
  /** Whether the far side has answered the start of this leg. */
  #agreed = false;
  #audio: AudioSource = true;
  readonly #picture: Picture;
  #tap: Tap | undefined;
  #media: Media | undefined;
  #change: Change | undefined;
  #iceRestart = false;
  #stopRestart: Unsubscribe = () => {};
  #stopQuality: Unsubscribe | undefined;
  #transfer: { resolve(): void; reject(error: Error): void } | undefined;
  /** The start or accept that was sent, to send it again when the socket may have swallowed it. */
  #said: { method: string; body: Fields } | undefined;

  /** @internal */
  constructor(host: CallHost, account: Account, record: CallRecord) {
    super();
    this.#host = host;
    this.account = account;
    this.id = record.id;
    this.gcid = record.gcid;
    this.direction = record.direction;
    this.peer = record.peer;
    this.startedAt = new Date(record.started);
    this.answeredAt = record.answered === undefined ? undefined : new Date(record.answered);
    this.muted = record.muted;
    this.held = record.held;
    this.#state = record.state;
    this.#offer = record.offer;
    this.#early = record.candidates ?? [];
    this.#picture = new Picture(this.#pictureHost(), record.video, record.videoMuted ?? false);
    this.#picture.held = record.held;
  }

  get state(): CallState {
    return this.#state;
  }

  /** Our own picture, while we show one. */
  get localStream(): MediaStream | undefined {
    return this.#picture.own;
  }

  /** Whether the far side shows a picture; it is in {@link Call.remoteStream}. */
  get remoteVideo(): boolean {
    return this.#picture.remote;
  }

  /** Whether our picture is blackened. */
  get videoMuted(): boolean {
    return this.#picture.muted;
  }

  /** Of a call that rings here: whether the caller wants to see or be seen. */
  get offersVideo(): boolean {
    return this.#offer !== undefined && hasVideo(this.#offer);
  }

  /** The connection under the call, for what this library has no word for. It changes when the call is brought back. */
  get connection(): RTCPeerConnection | undefined {
    return this.#media?.connection;
  }

  /**
   * Takes an incoming call. Resolves when it is active. After `microphone` or `camera` it still rings and can be taken again.
   * A picture for a caller who asked for none is added once the call is active.
   */
  async accept(options: CallOptions = {}): Promise<void> {
    this.#require("accept", "incoming");
    this.#audio = options.audio ?? true;
    const { video } = options;
    const later = video && !this.offersVideo ? video : undefined;
    if (!later) this.#picture.choose(video);
    this.#enter("connecting");
    try {
      await this.#openMedia(false);
    } catch (error) {
      if (this.#is("connecting")) this.#enter("incoming");
      throw error;
    }
    let sdp: string;
    try {
      sdp = await this.#use().answer(this.#offer ?? "");
    } catch (error) {
      if (!this.#is("ended")) this.#say("end", { reason: "notAcceptable" });
      this.#finish("mediaError", "local");
      throw new CrosspointError("call-ended", "the browser cannot take this call", { reason: "mediaError", cause: error });
    }
    this.#sayAgain("accept", { sdp, trickle: true });
    await this.whenActive();
    if (later) void this.addVideo(later).catch(() => {});
  }

  /** Refuses an incoming call: `declined` everywhere, or `busy` on this device only. */
  reject(reason: "declined" | "busy" = "declined"): void {
    this.#require("reject", "incoming");
    this.#say("end", { reason });
    this.#finish(reason, "local");
  }

  /** Ends the call, whatever its state. */
  hangup(): void {
    switch (this.#state) {
      case "incoming":
        return this.reject();
      case "calling":
      case "ringing":
        this.#say("end", { reason: "canceled" });
        return this.#finish("canceled", "local");
      case "connecting":
      case "active":
      case "reconnecting":
        this.#say("end", { reason: "normal" });
        return this.#finish("normal", "local");
      case "ended":
        return;
    }
  }

  /** Puts the far side on hold. Resolves when it has agreed. */
  hold(): Promise<void> {
    return this.#hold(true);
  }

  /** Takes the far side off hold. */
  unhold(): Promise<void> {
    return this.#hold(false);
  }

  /** Silences the microphone, for this call only. */
  mute(): void {
    this.#mute(true);
  }

  /** Gives the microphone back. */
  unmute(): void {
    this.#mute(false);
  }

  /**
   * Shows a picture from now on: the client's camera, another one, a screen (`getDisplayMedia`), or `"receive"` to see and not be
   * seen. Instead of the one before, if there is one. Resolves when the far side takes it; rejects with `change-refused` when
   * it takes none, and with `camera` when there is none to show. The call goes on either way.
   */
  async addVideo(source: PictureSource | "receive" = true): Promise<void> {
    this.#require("add video", "active", "reconnecting");
    await this.#picture.add(source);
  }

  /** Takes our picture away, and turns the camera off at once. The far side's stays. */
  async removeVideo(): Promise<void> {
    this.#require("remove video", "active", "reconnecting");
    await this.#picture.remove();
  }

  /** Blackens our picture. The camera stays on, and nothing is negotiated. */
  muteVideo(): void {
    this.#muteVideo(true);
  }

  /** Gives the picture back. */
  unmuteVideo(): void {
    this.#muteVideo(false);
  }

  /** Presses keys: up to 32 of `0-9 * # A-D`. */
  sendDtmf(digits: string): void {
    this.#require("send digits", "active", "reconnecting", "ringing");
    if (!/^[0-9*#A-D]{1,32}$/i.test(digits)) throw new CrosspointError("invalid-argument", `"${digits}" are no keys`);
    this.#say("dtmf", { dtmf: digits.toUpperCase() });
  }

  /**
   * Sends the far side to another number (blind), or joins it with the far side of another call of this client, whether
   * that one was answered or rings (attended). Resolves when it has arrived there; this call then ends. To a parking slot or
   * orbit of the gateway's, it waits there: the `transfer` event names the slot. A call that still rings here is sent on.
   */
  transfer(target: string | Call): Promise<void> {
    if (typeof target === "string") this.#require("transfer", "incoming", "active", "reconnecting");
    else this.#require("transfer", "active", "reconnecting");
    const body = typeof target === "string" ? { target: target.trim() } : { with: target.id };
    if (target === this || body.target === "") throw new CrosspointError("invalid-argument", "there is nobody to transfer to");
    if (this.#transfer) throw new CrosspointError("invalid-state", "a transfer is under way");
    return new Promise((resolve, reject) => {
      this.#transfer = { resolve, reject };
      this.#say("transfer", body);
    });
  }

  /** Plays another sound to the far side, for this call only. */
  async replaceTrack(audio: AudioSource): Promise<void> {
    if (this.#is("ended")) throw this.#over();
    this.#audio = audio;
    if (!this.#media) return;
    const before = this.#tap;
    const tap = await this.#host.microphone.tap(audio, (track) => this.#moved(track));
    if (this.#is("ended")) return tap.release();
    this.#tap = tap;
    this.#sound();
    await this.#use().use(tap.track);
    before?.release();
  }

  /**
   * Plays the call's sound in an audio element, or its sound and picture in a video element, also after it was brought back.
   * Without an element it makes one for the sound.
   * @returns a function that stops it.
   */
  attach(element: HTMLMediaElement = new Audio()): Unsubscribe {
    const play = (stream: MediaStream | undefined) => {
      if (stream && element.srcObject !== stream) element.srcObject = stream;
    };
    play(this.remoteStream);
    return this.#attached(element, this.on("remotestream", play));
  }

  /**
   * Shows our own picture in a video element, whichever it is. Without sound, for nobody wants to hear himself.
   * @returns a function that stops it.
   */
  attachLocal(element: HTMLVideoElement): Unsubscribe {
    element.muted = true;
    const show = (stream: MediaStream | undefined) => (element.srcObject = stream ?? null);
    show(this.localStream);
    return this.#attached(element, this.on("localstream", show));
  }

  #attached(element: HTMLMediaElement, stop: Unsubscribe): Unsubscribe {
    element.autoplay = true;
    if ("playsInline" in element) element.playsInline = true;
    const detach = () => {
      stop();
      element.srcObject = null;
    };
    this.once("ended", detach);
    return detach;
  }

  /** Resolves when the call is active, rejects with `call-ended` when it ends before. */
  whenActive(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): boolean => {
        if (this.#is("active")) resolve();
        else if (this.#is("ended")) reject(this.#over());
        else return false;
        return true;
      };
      if (look()) return;
      const stop = this.on("state", () => {
        if (look()) stop();
      });
    });
  }

  /** Resolves when the call has ended. */
  whenEnded(): Promise<Ended> {
    return this.end ? Promise.resolve(this.end) : new Promise((resolve) => this.once("ended", resolve));
  }

  /** Places the call. @internal */
  async start(options: CallOptions, target: string): Promise<void> {
    this.#audio = options.audio ?? true;
    this.#picture.choose(options.video);
    await this.#send(target, false, options.autoAnswer === true);
  }

  /** Takes over the leg that another page, or this one before its reload, has in this call. @internal */
  async takeOver(options: CallOptions = {}): Promise<void> {
    this.#audio = options.audio ?? this.#audio;
    this.#picture.choose(options.video);
    await this.#send("", true);
  }

  async #send(target: string, replace: boolean, autoAnswer = false): Promise<void> {
    try {
      // A call that is placed while its account is still on the way waits for it.
      const connected = this.account.connect();
      connected.catch(() => {});
      await this.#openMedia(true);
      const sdp = await this.#use().offer();
      await connected;
      if (this.#is("ended")) return;
      this.#sayAgain("start", { target, sdp, trickle: true, replace, ...(autoAnswer ? { autoAnswer } : {}) });
    } catch (error) {
      if (this.#is("ended")) return;
      const unavailable = error instanceof CrosspointError && error.code === "account-failed";
      this.#finish(unavailable ? "unavailable" : "mediaError", "local");
    }
  }

  /** A message of this leg. @internal */
  handle(action: string, body: Fields): void {
    if (this.#is("ended")) return;
    this.#alive = true;
    if (action.startsWith("change.")) return this.#change?.handle(action.slice("change.".length), body);
    switch (action) {
      case "start":
        // Offered again: the description may be a new one.
        if (this.#is("incoming")) this.#offered(text(body, "sdp"));
        return;
      case "ringing":
        return this.#ringing(text(body, "sdp"));
      case "accept":
        return void this.#accepted(text(body, "sdp"));
      case "ack.accept":
        return this.#acknowledged();
      case "candidate": {
        const candidate = readCandidate((body["candidate"] as Fields | undefined)?.["payload"]);
        return this.#reachable(candidate ? [candidate] : []);
      }
      case "fullsdp":
        return this.#reachable(candidatesIn(text(body, "sdp")));
      case "dtmf":
        return this.emit("dtmf", text(body, "dtmf"));
      case "quality":
        return this.#graded(body);
      case "press": {
        const button = text(body, "button");
        return button === "talk" || button === "hold" ? this.emit("press", button) : undefined;
      }
      case "transfer.progress": {
        const slot = text(body, "slot") || undefined;
        return this.#transferred({ state: text(body, "state") as TransferProgress["state"], reason: text(body, "reason"), slot });
      }
      case "end":
        return this.#finish(text(body, "reason") || "normal", "remote");
    }
  }

  #graded(body: Fields): void {
    const about = text(body, "about");
    const grade = text(body, "grade");
    if ((about !== "near" && about !== "far") || !["good", "fair", "poor", "silent"].includes(grade)) return;
    const figure = (name: string) => (typeof body[name] === "number" ? body[name] : undefined);
    const side: SideGrade = {
      about,
      grade: grade as SideGrade["grade"],
      mos: figure("mos"),
      loss: figure("loss"),
      lossOut: figure("lossOut"),
      jitter: figure("jitter"),
      roundTrip: figure("roundTrip"),
    };
    this.grades[about] = side;
    this.emit("grade", side);
    this.emit("changed");
  }

  /** @internal */
  linkLost(): void {
    this.#change?.suspend();
  }

  /** There is a socket again; `info` is what the gateway knows of this call. @internal */
  linkBack(info: CallInfo | undefined, resumed: boolean, networkChanged: boolean): void {
    if (!info) {
      if (this.direction === "outgoing" && !this.#alive) this.#repeat();
      else if (!resumed) this.#finish("networkError", "remote");
      return;
    }
    switch (this.#state) {
      case "calling":
      case "ringing":
        if (!resumed && info.state === "active") void this.#retake();
        break;
      case "connecting":
        if (!resumed && info.state === "active" && this.#said?.method === "accept") this.#activate();
        else this.#repeat();
        break;
      case "active":
      case "reconnecting":
        this.#backInCall(networkChanged);
        break;
      case "incoming":
      case "ended":
        break;
    }
  }

  #backInCall(networkChanged: boolean): void {
    if (this.#said?.method === "start" && !this.#agreed) return this.#repeat();
    // The gateway ends a call whose acknowledgement it misses; ours may have gone with the socket.
    if (this.#said?.method === "start") this.#say("ack.accept");
    this.#change?.resume();
    if (networkChanged || !this.#iceIsUp) this.#restart();
  }

  /** @internal */
  record(): CallRecord {
    return {
      id: this.id,
      gcid: this.gcid,
      account: this.account.id,
      direction: this.direction,
      state: this.#state,
      peer: this.peer,
      started: this.startedAt.getTime(),
      answered: this.answeredAt?.getTime(),
      muted: this.muted,
      held: this.held,
      video: this.#picture.kept,
      videoMuted: this.videoMuted,
      offer: this.#is("incoming") ? this.#offer : undefined,
      candidates: this.#is("incoming") ? this.#early : undefined,
    };
  }

  /** The client is gone for good. @internal */
  abandon(): void {
    this.#finish("networkError", "local");
  }

  // What the far side says.

  #offered(sdp: string): void {
    if (sdp === "" || sdp === this.#offer) return;
    this.#offer = sdp;
    this.#early = [];
  }

  /** Who is called hears of the caller's candidates while it rings. */
  #reachable(candidates: RTCIceCandidateInit[]): void {
    for (const candidate of candidates) {
      if (this.#media) this.#media.addCandidate(candidate);
      else if (this.direction === "incoming" && this.#early.length < EARLY_MAX) this.#early.push(candidate);
    }
    if (this.#is("incoming") && candidates.length > 0) this.#host.save();
  }

  #ringing(sdp: string): void {
    if (this.#is("calling")) this.#enter("ringing");
    if (sdp && (this.#is("calling") || this.#is("ringing"))) {
      this.#media?.takeAnswer(sdp, "pranswer").catch(() => {});
    }
  }

  async #accepted(sdp: string): Promise<void> {
    if (this.#said?.method !== "start") return;
    const media = this.#media;
    // Said again, because our acknowledgement was not heard.
    if (this.#agreed) return this.#say("ack.accept");
    try {
      await media?.takeAnswer(sdp);
    } catch {
      if (this.#is("ended")) return;
      this.#say("end", { reason: "mediaError" });
      return this.#finish("mediaError", "local");
    }
    if (this.#is("ended") || media !== this.#media) return;
    this.#agreed = true;
    this.#say("ack.accept");
    // A call that comes back is back when there is sound.
    if (!this.#is("reconnecting") || this.#iceIsUp) this.#activate();
  }

  #acknowledged(): void {
    if (this.#is("connecting")) this.#activate();
  }

  #activate(): void {
    this.answeredAt ??= new Date(this.#host.platform.now());
    const back = this.#is("reconnecting");
    this.#enter("active");
    if (back) this.emit("reconnected");
    if (!this.#media) return;
    this.#stopQuality?.();
    this.#stopQuality = watchQuality(this.#host.platform, this.#media.connection, this.#host.qualityInterval, (report) => {
      this.quality = report;
      this.emit("quality", report);
    });
  }

  #transferred(progress: TransferProgress): void {
    this.emit("transfer", progress);
    const waiting = this.#transfer;
    if (progress.state === "done") {
      this.#transfer = undefined;
      waiting?.resolve();
    } else if (progress.state === "failed") {
      this.#transfer = undefined;
      waiting?.reject(new CrosspointError("transfer-failed", "the transfer was refused", { reason: progress.reason }));
    }
  }

  // Media.

  async #openMedia(caller: boolean): Promise<void> {
    const tap = await this.#host.microphone.tap(this.#audio, (track) => this.#moved(track));
    try {
      await this.#picture.open();
    } catch (error) {
      // A call that comes back is worth more than its picture.
      if (!this.#is("reconnecting")) {
        tap.release();
        throw error;
      }
      this.#picture.forgo();
    }
    if (this.#is("ended")) {
      tap.release();
      this.#picture.close();
      throw this.#over();
    }
    this.#tap?.release();
    this.#tap = tap;
    this.#agreed = false;
    this.#sound();
    const { showing } = this.#picture;
    let remote: MediaStream | undefined;
    this.#media = new Media(this.#host.platform, this.#host.configuration, { track: tap.track, held: this.held, showing }, {
      candidate: (candidate) => this.#candidate(candidate),
      ice: (state) => this.#ice(state),
      remote: (track) => (remote = this.#heard(track, remote)),
      pictures: (receives, refused) => {
        // A picture that stands still is none.
        if (!receives) for (const track of remote?.getVideoTracks() ?? []) remote?.removeTrack(track);
        this.#picture.agreed(receives, refused);
      },
      heldByPeer: (held) => {
        if (held === this.heldByPeer) return;
        this.heldByPeer = held;
        this.emit("changed");
      },
    });
    for (const candidate of this.#early.splice(0)) this.#media.addCandidate(candidate);
    this.#change = new Change(this.#changeHost(), caller);
    if (!this.#host.isOpen) this.#change.suspend();
  }

  /** A track of the far side joins those of its stream; a new connection has a new stream. */
  #heard(track: MediaStreamTrack, before: MediaStream | undefined): MediaStream {
    const stream = before ?? this.#host.platform.stream([]);
    for (const old of stream.getTracks()) if (old.kind === track.kind && old !== track) stream.removeTrack(old);
    stream.addTrack(track);
    this.remoteStream = stream;
    if (!before) this.emit("remotestream", stream);
    this.emit("track", track, stream);
    return stream;
  }

  #pictureHost(): ConstructorParameters<typeof Picture>[0] {
    const { platform, camera } = this.#host;
    return {
      platform,
      camera,
      media: () => this.#media,
      request: () => this.#change?.request() ?? Promise.reject(this.#over()),
      over: () => this.#over(),
      own: (stream) => this.#told(() => this.emit("localstream", stream)),
      remote: (shown) => this.#told(() => this.emit("remotevideo", shown)),
      changed: () => this.#told(() => {}),
    };
  }

  #told(tell: () => void): void {
    this.#host.save();
    tell();
    this.emit("changed");
  }

  #changeHost(): ConstructorParameters<typeof Change>[0] {
    const { platform } = this.#host;
    return {
      send: (action, fields) => this.#say(`change.${action}`, fields),
      offer: () => this.#use().offer({ iceRestart: this.#iceRestart }),
      takeAnswer: (sdp) => this.#use().takeAnswer(sdp),
      answer: (sdp) => this.#use().answer(sdp),
      rollback: () => this.#use().rollback(),
      after: (ms, run) => platform.after(ms, run),
      random: () => platform.random(),
    };
  }

  #candidate(candidate: RTCIceCandidate | null): void {
    if (!candidate) return this.#say("fullsdp", { sdp: this.#media?.local ?? "" });
    if (candidate.candidate === "") return;
    this.#say("candidate", { candidate: { type: "WEBRTC_LEGACY", payload: JSON.stringify(candidate) } });
  }

  #ice(state: RTCIceConnectionState): void {
    switch (state) {
      case "connected":
      case "completed":
        this.#stopRestart();
        if (this.#is("reconnecting") && (this.#agreed || this.#said?.method !== "start")) this.#activate();
        break;
      case "disconnected":
        this.#interrupted(ICE_PATIENCE);
        break;
      case "failed":
        this.#interrupted(0);
        break;
      case "new":
      case "checking":
      case "closed":
        break;
    }
  }

  get #iceIsUp(): boolean {
    const state = this.connection?.iceConnectionState;
    return state === "connected" || state === "completed";
  }

  #interrupted(patience: number): void {
    if (!this.#is("active") && !this.#is("reconnecting")) return;
    if (this.#is("active")) {
      this.#enter("reconnecting");
      this.emit("reconnecting");
    }
    // What cuts the sound off may have cut the socket off too.
    this.#host.probe();
    this.#stopRestart();
    this.#stopRestart = this.#host.platform.after(patience, () => this.#restart());
  }

  #restart(): void {
    this.#stopRestart();
    // Without a socket: when there is one again.
    if (!this.#host.isOpen || !this.#change || this.#iceRestart) return;
    this.#iceRestart = true;
    const media = this.#media;
    this.#change
      .request()
      .finally(() => (this.#iceRestart = false))
      .catch(() => {
        if (this.#is("reconnecting") && media === this.#media) this.#interrupted(RESTART_AGAIN);
      });
  }

  /** What was said on the way to this state is lost: begin the leg anew. */
  async #retake(): Promise<void> {
    const before = this.id;
    this.id = this.#host.platform.uuid();
    this.#host.renamed(this, before);
    this.#closeMedia();
    this.#enter("reconnecting");
    this.emit("reconnecting");
    await this.takeOver().catch(() => {});
  }

  #closeMedia(): void {
    this.#stopRestart();
    this.#stopQuality?.();
    this.#change?.end(this.#over());
    this.#change = undefined;
    this.#media?.close();
    this.#media = undefined;
    this.#tap?.release();
    this.#tap = undefined;
    this.#picture.close();
    this.#iceRestart = false;
  }

  #moved(track: MediaStreamTrack): void {
    this.#sound();
    void this.#media?.use(track).catch(() => {});
  }

  #sound(): void {
    if (this.#tap) this.#tap.track.enabled = !this.muted && !this.held;
  }

  #mute(muted: boolean): void {
    if (this.muted === muted) return;
    this.muted = muted;
    this.#sound();
    this.#host.save();
    this.emit("changed");
  }

  #muteVideo(muted: boolean): void {
    if (this.videoMuted === muted) return;
    this.#picture.muted = muted;
    this.#picture.draw();
    this.#told(() => {});
  }

  async #hold(held: boolean): Promise<void> {
    this.#require(held ? "hold" : "unhold", "active", "reconnecting");
    if (this.held === held || !this.#change) return;
    const set = (value: boolean) => {
      this.held = value;
      this.#media?.hold(value);
      this.#sound();
      this.#picture.held = value;
      this.#picture.draw();
      this.#host.save();
      this.emit("changed");
    };
    set(held);
    try {
      await this.#change.request();
    } catch (error) {
      if (!this.#is("ended")) set(!held);
      throw error;
    }
  }

  // Words.

  #say(action: string, fields: Fields = {}): void {
    const body = { id: this.id, gcid: this.gcid, account: this.account.id, ...fields };
    this.#host.send(`call.${action}`, this.account.target, body);
  }

  #sayAgain(method: string, body: Fields): void {
    this.#said = { method, body };
    this.#say(method, body);
  }

  #repeat(): void {
    if (!this.#said) return;
    this.#say(this.#said.method, this.#said.body);
    // Candidates that went with the lost socket are all in this one.
    if (this.connection?.iceGatheringState === "complete") this.#say("fullsdp", { sdp: this.#media?.local ?? "" });
  }

  #use(): Media {
    if (!this.#media) throw this.#over();
    return this.#media;
  }

  #is(state: CallState): boolean {
    return this.#state === state;
  }

  #require(what: string, ...states: CallState[]): void {
    if (this.#is("ended") && !states.includes("ended")) throw this.#over();
    if (!states.includes(this.#state)) {
      throw new CrosspointError("invalid-state", `cannot ${what} while the call is ${this.#state}`);
    }
  }

  #over(): CrosspointError {
    const reason = this.end?.reason ?? "normal";
    return new CrosspointError("call-ended", `the call has ended: ${reason}`, { reason });
  }

  #enter(state: CallState): void {
    const before = this.#state;
    if (before === state) return;
    this.#state = state;
    this.#host.save();
    this.emit("state", state, before);
    this.emit("changed");
  }

  #finish(reason: string, by: Ended["by"]): void {
    if (this.end) return;
    this.end = { reason, by };
    this.#closeMedia();
    const waiting = this.#transfer;
    this.#transfer = undefined;
    if (reason === "transferred") waiting?.resolve();
    else waiting?.reject(new CrosspointError("transfer-failed", "the call ended first", { reason }));
    this.#host.ended(this);
    this.#enter("ended");
    this.emit("ended", this.end);
  }
}

/** Candidates kept of a caller while it rings. */
const EARLY_MAX = 64;
/** A disconnection this short mends itself, in ms. */
const ICE_PATIENCE = 1_500;
/** Between two attempts to bring the sound back, in ms. */
const RESTART_AGAIN = 3_000;
