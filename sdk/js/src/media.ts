// A call's RTCPeerConnection: descriptions one after the other, candidates in time, one audio line.
import type { Platform } from "./platform.js";
import { candidatesIn, holdsUs } from "./sdp.js";

/** What the connection tells its call. @internal */
export interface MediaEvents {
  /** A candidate of ours, or null after the last. */
  candidate(candidate: RTCIceCandidate | null): void;
  ice(state: RTCIceConnectionState): void;
  remote(stream: MediaStream): void;
  /** The far side holds us, or no longer does. */
  heldByPeer(held: boolean): void;
}

/** @internal */
export class Media {
  readonly connection: RTCPeerConnection;
  readonly #events: MediaEvents;
  #track: MediaStreamTrack;
  #held: boolean;
  #steps: Promise<unknown> = Promise.resolve();
  #early: RTCIceCandidateInit[] = [];
  #closed = false;

  constructor(platform: Platform, configuration: RTCConfiguration, track: MediaStreamTrack, held: boolean, events: MediaEvents) {
    this.#events = events;
    this.#track = track;
    this.#held = held;
    this.connection = platform.connection(configuration);
    this.connection.onicecandidate = ({ candidate }) => this.#tell(() => events.candidate(candidate));
    this.connection.oniceconnectionstatechange = () => this.#tell(() => events.ice(this.connection.iceConnectionState));
    this.connection.ontrack = ({ streams, track: remote }) =>
      this.#tell(() => events.remote(streams[0] ?? new MediaStream([remote])));
  }

  /** The description in force, with all candidates that are known. */
  get local(): string {
    return this.connection.localDescription?.sdp ?? "";
  }

  offer(options: { iceRestart?: boolean } = {}): Promise<string> {
    return this.#step(async () => {
      if (!this.#line) this.connection.addTransceiver(this.#track, { direction: this.#direction });
      else this.#line.direction = this.#direction;
      const offer = await this.connection.createOffer({ iceRestart: options.iceRestart ?? false });
      await this.connection.setLocalDescription(offer);
      return offer.sdp ?? "";
    });
  }

  takeAnswer(sdp: string, type: "answer" | "pranswer" = "answer"): Promise<void> {
    return this.#step(() => this.#setRemote({ type, sdp }));
  }

  answer(sdp: string): Promise<string> {
    return this.#step(async () => {
      try {
        await this.#setRemote({ type: "offer", sdp });
        if (!this.#line?.sender.track) this.connection.addTrack(this.#track, ...this.#streams());
        if (this.#line) this.#line.direction = this.#direction;
        const answer = await this.connection.createAnswer();
        await this.connection.setLocalDescription(answer);
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

  /** All candidates of a complete description; those that are known already do no harm. */
  addCandidatesOf(sdp: string): void {
    for (const candidate of candidatesIn(sdp)) this.addCandidate(candidate);
  }

  /** Which way sound shall go from the next description on. */
  hold(held: boolean): void {
    this.#held = held;
  }

  async use(track: MediaStreamTrack): Promise<void> {
    this.#track = track;
    await this.#line?.sender.replaceTrack(track);
  }

  close(): void {
    this.#closed = true;
    this.connection.close();
  }

  get #line(): RTCRtpTransceiver | undefined {
    return this.connection.getTransceivers().find((line) => line.receiver.track.kind === "audio");
  }

  get #direction(): RTCRtpTransceiverDirection {
    return this.#held ? "sendonly" : "sendrecv";
  }

  #streams(): MediaStream[] {
    return typeof MediaStream === "undefined" ? [] : [new MediaStream([this.#track])];
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
