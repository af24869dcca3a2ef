// A call's RTCPeerConnection: descriptions one after the other, candidates in time, one line for sound and at most one for
// pictures.
import type { Platform } from "./platform.js";
import { holdsUs } from "./sdp.js";

/** What the connection tells its call. @internal */
export interface MediaEvents {
  /** A candidate of ours, or null after the last. */
  candidate(candidate: RTCIceCandidate | null): void;
  ice(state: RTCIceConnectionState): void;
  /** Something of the far side to be heard or seen. */
  remote(track: MediaStreamTrack): void;
  /** What both have agreed on pictures. `refused`: there is no line for them any more. */
  pictures(receives: boolean, refused: boolean): void;
  /** The far side holds us, or no longer does. */
  heldByPeer(held: boolean): void;
}

/** What a connection does with pictures. @internal */
export interface Showing {
  /** Ours. */
  readonly track: MediaStreamTrack | undefined;
  /** An offer of ours has a line for them, also without one of ours. */
  readonly wanted: boolean;
  /** The far side's are welcome. */
  readonly takes: boolean;
}

/** @internal */
export class Media {
  readonly connection: RTCPeerConnection;
  readonly #platform: Platform;
  readonly #events: MediaEvents;
  #stream: MediaStream | undefined;
  #track: MediaStreamTrack;
  #held: boolean;
  #showing: Showing;
  #steps: Promise<unknown> = Promise.resolve();
  #early: RTCIceCandidateInit[] = [];
  #closed = false;

  constructor(
    platform: Platform,
    configuration: RTCConfiguration,
    { track, held, showing }: { track: MediaStreamTrack; held: boolean; showing: Showing },
    events: MediaEvents,
  ) {
    this.#platform = platform;
    this.#events = events;
    this.#track = track;
    this.#held = held;
    this.#showing = showing;
    this.connection = platform.connection(configuration);
    this.connection.onicecandidate = ({ candidate }) => this.#tell(() => events.candidate(candidate));
    this.connection.oniceconnectionstatechange = () => this.#tell(() => events.ice(this.connection.iceConnectionState));
    this.connection.ontrack = ({ track: remote }) => this.#tell(() => events.remote(remote));
  }

  /** The description in force, with all candidates that are known. */
  get local(): string {
    return this.connection.localDescription?.sdp ?? "";
  }

  offer(options: { iceRestart?: boolean } = {}): Promise<string> {
    return this.#step(async () => {
      if (!this.#line) this.connection.addTransceiver(this.#track, { direction: this.#direction, streams: this.#streams() });
      else this.#line.direction = this.#direction;
      await this.#layPictures(this.#showing.wanted);
      const offer = await this.connection.createOffer({ iceRestart: options.iceRestart ?? false });
      await this.connection.setLocalDescription(offer);
      return offer.sdp ?? "";
    });
  }

  takeAnswer(sdp: string, type: "answer" | "pranswer" = "answer"): Promise<void> {
    return this.#step(async () => {
      const had = this.hasPictures;
      await this.#setRemote({ type, sdp });
      if (type === "answer") this.#agreed(had);
    });
  }

  answer(sdp: string): Promise<string> {
    return this.#step(async () => {
      const had = this.hasPictures;
      try {
        await this.#setRemote({ type: "offer", sdp });
        if (!this.#line?.sender.track) this.connection.addTrack(this.#track, ...this.#streams());
        if (this.#line) this.#line.direction = this.#direction;
        if (this.hasPictures) await this.#layPictures(this.#showing.takes);
        const answer = await this.connection.createAnswer();
        await this.connection.setLocalDescription(answer);
        this.#agreed(had);
        return answer.sdp ?? "";
      } catch (error) {
        if (this.connection.signalingState === "have-remote-offer") {
          await this.connection.setRemoteDescription({ type: "rollback" }).catch(() => {});
        }
        throw error;
      }
    });
  }

  rollback(): Promise<void> {
    return this.#step(async () => {
      if (this.connection.signalingState === "have-local-offer") {
        await this.connection.setLocalDescription({ type: "rollback" });
      }
      // A line that only the offer had would stand beside the one that an offer of the far side brings.
      for (const line of this.#lines("video")) if (line.mid === null) line.stop();
    });
  }

  addCandidate(candidate: RTCIceCandidateInit): void {
    void this.#step(async () => {
      if (!this.connection.remoteDescription) {
        if (this.#early.length < EARLY_MAX) this.#early.push(candidate);
        return;
      }
      // One that cannot be used is one way less, not a failure.
      await this.connection.addIceCandidate(candidate).catch(() => {});
    }).catch(() => {});
  }

  /** Which way sound shall go from the next description on. */
  hold(held: boolean): void {
    this.#held = held;
  }

  async use(track: MediaStreamTrack): Promise<void> {
    this.#track = track;
    await this.#line?.sender.replaceTrack(track);
  }

  /** What to do with pictures from now on; true when the far side has to agree to it. */
  show(showing: Showing): Promise<boolean> {
    return this.#step(async () => {
      this.#showing = showing;
      const line = this.#pictures;
      if (!line) return showing.track !== undefined || showing.wanted;
      await line.sender.replaceTrack(showing.track ?? null);
      if (showing.track === undefined && !showing.wanted) return true;
      return line.direction !== this.#showingDirection || line.currentDirection === null;
    });
  }

  /** Whether there is a line for pictures. */
  get hasPictures(): boolean {
    return this.#pictures !== undefined;
  }

  close(): void {
    this.#closed = true;
    this.connection.close();
  }

  get #line(): RTCRtpTransceiver | undefined {
    return this.connection.getTransceivers().find((line) => line.receiver.track.kind === "audio");
  }

  get #pictures(): RTCRtpTransceiver | undefined {
    const lines = this.#lines("video");
    return lines.find((line) => line.mid !== null) ?? lines[0];
  }

  #lines(kind: string): RTCRtpTransceiver[] {
    const isUsed = (line: RTCRtpTransceiver) => line.direction !== "stopped" && line.currentDirection !== "stopped";
    return this.connection.getTransceivers().filter((line) => line.receiver.track.kind === kind && isUsed(line));
  }

  /** Makes the line for pictures as it shall be in the next description. */
  async #layPictures(wanted: boolean): Promise<void> {
    const { track } = this.#showing;
    const line = this.#pictures;
    if (!line) {
      if (!track && !wanted) return;
      const options = { direction: this.#showingDirection, streams: this.#streams() };
      this.connection.addTransceiver(track ?? "video", options);
    } else if (!track && !wanted) {
      line.stop();
    } else {
      await line.sender.replaceTrack(track ?? null);
      line.direction = this.#showingDirection;
    }
  }

  /** `had`: whether there was a line for pictures before. */
  #agreed(had: boolean): void {
    const direction = this.#pictures?.currentDirection;
    const receives = direction === "sendrecv" || direction === "recvonly";
    this.#tell(() => this.#events.pictures(receives, had && !this.hasPictures));
  }

  /** On hold nothing is shown either way. */
  get #showingDirection(): RTCRtpTransceiverDirection {
    const { track, takes } = this.#showing;
    if (this.#held) return "inactive";
    if (track) return takes ? "sendrecv" : "sendonly";
    return "recvonly";
  }

  get #direction(): RTCRtpTransceiverDirection {
    return this.#held ? "sendonly" : "sendrecv";
  }

  /** Sound and pictures are of one stream, so that they are played in step. */
  #streams(): MediaStream[] {
    return [(this.#stream ??= this.#platform.stream([this.#track]))];
  }

  async #setRemote(description: RTCSessionDescriptionInit): Promise<void> {
    await this.connection.setRemoteDescription(description);
    this.#tell(() => this.#events.heldByPeer(holdsUs(description.sdp ?? "")));
    for (const candidate of this.#early.splice(0)) await this.connection.addIceCandidate(candidate).catch(() => {});
  }

  /** Runs after all steps before it: a connection takes one description at a time. */
  #step<Result>(run: () => Promise<Result>): Promise<Result> {
    const step = this.#steps.then(run);
    this.#steps = step.catch(() => {});
    return step;
  }

  #tell(run: () => void): void {
    if (!this.#closed) run();
  }
}

/** Candidates kept before there is a description for them. */
const EARLY_MAX = 64;
