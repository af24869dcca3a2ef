// One microphone and one camera for all calls: each call gets a track of its own, and all of them move to another device at once.
import { CrosspointError } from "./errors.js";
import type { Platform } from "./platform.js";

/** What a call plays to the other side: the client's microphone, one of its own, or any sound. */
export type AudioSource = true | MediaTrackConstraints | MediaStreamTrack;

/** What a call shows the other side: the client's camera, one of its own, or any picture, such as a shared screen. */
export type PictureSource = true | MediaTrackConstraints | MediaStreamTrack;

/** What a call does with pictures; see {@link CallOptions.video}. */
export type VideoSource = PictureSource | "receive" | false;

/** A call's hold on a source of sound or pictures. @internal */
export interface Tap {
  readonly track: MediaStreamTrack;
  release(): void;
}

/** @internal */
export class Device {
  readonly #platform: Platform;
  readonly #kind: "microphone" | "camera";
  #constraints: MediaTrackConstraints | true = true;
  #source: Promise<MediaStreamTrack> | undefined;
  readonly #taps = new Map<MediaStreamTrack, (track: MediaStreamTrack) => void>();

  constructor(platform: Platform, kind: "microphone" | "camera") {
    this.#platform = platform;
    this.#kind = kind;
  }

  /** A track for one call. `moved` is told the track that takes its place when the device changes. */
  async tap(source: AudioSource, moved: (track: MediaStreamTrack) => void): Promise<Tap> {
    if (source !== true) {
      const own = isTrack(source) ? source : await this.#ask(source);
      return { track: own, release: () => isTrack(source) || own.stop() };
    }
    this.#source ??= this.#open(this.#constraints);
    let track = (await this.#source).clone();
    this.#taps.set(track, (next) => moved((track = next)));
    return { get track() { return track; }, release: () => this.#release(track) };
  }

  /** Takes another device, for the calls that run and those to come. */
  async select(constraints: MediaTrackConstraints | true): Promise<void> {
    this.#constraints = constraints;
    if (!this.#source) return;
    const before = await this.#source.catch(() => undefined);
    const source = this.#open(constraints);
    const fresh = await source;
    this.#source = source;
    for (const [old, moved] of [...this.#taps]) {
      const track = fresh.clone();
      track.enabled = old.enabled;
      this.#taps.delete(old);
      this.#taps.set(track, moved);
      moved(track);
      old.stop();
    }
    before?.stop();
    if (this.#taps.size === 0) this.#close();
  }

  async #open(constraints: MediaTrackConstraints | true): Promise<MediaStreamTrack> {
    try {
      const track = await this.#ask(constraints);
      // A device that is pulled out: go on with whatever the browser has instead.
      track.onended = () => void this.select(true).catch(() => {});
      return track;
    } catch (error) {
      this.#source = undefined;
      throw error;
    }
  }

  async #ask(constraints: MediaTrackConstraints | true): Promise<MediaStreamTrack> {
    try {
      return await this.#platform[this.#kind](constraints);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new CrosspointError(this.#kind, `the ${this.#kind} cannot be used: ${why}`, { cause: error });
    }
  }

  #release(track: MediaStreamTrack): void {
    track.stop();
    this.#taps.delete(track);
    if (this.#taps.size === 0) this.#close();
  }

  /** Nobody listens or looks: the browser need not show that we do. */
  #close(): void {
    const source = this.#source;
    this.#source = undefined;
    void source?.then((track) => track.stop()).catch(() => {});
  }
}

/** @internal */
export function isTrack(source: unknown): source is MediaStreamTrack {
  return typeof source === "object" && source !== null && "stop" in source && "kind" in source;
}
