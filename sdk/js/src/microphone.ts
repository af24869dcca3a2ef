// One microphone for all calls: each call gets a track of its own, and all of them move to another device at once.
import { CrosspointError } from "./errors.js";
import type { Platform } from "./platform.js";

/** What a call plays to the other side: the client's microphone, one of its own, or any sound. */
export type AudioSource = true | MediaTrackConstraints | MediaStreamTrack;

/** A call's hold on a source of sound. @internal */
export interface Tap {
  readonly track: MediaStreamTrack;
  release(): void;
}

/** @internal */
export class Microphone {
  readonly #platform: Platform;
  #constraints: MediaTrackConstraints | true = true;
  #source: Promise<MediaStreamTrack> | undefined;
  readonly #taps = new Map<MediaStreamTrack, (track: MediaStreamTrack) => void>();

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  /** A track for one call. `moved` is told the track that takes its place when the device changes. */
  async tap(source: AudioSource, moved: (track: MediaStreamTrack) => void): Promise<Tap> {
    if (source !== true) {
      const own = isTrack(source) ? source : await open(this.#platform, source);
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
      const track = await open(this.#platform, constraints);
      // A device that is pulled out: go on with whatever the browser has instead.
      track.onended = () => void this.select(true).catch(() => {});
      return track;
    } catch (error) {
      this.#source = undefined;
      throw error;
    }
  }

  #release(track: MediaStreamTrack): void {
    track.stop();
    this.#taps.delete(track);
    if (this.#taps.size === 0) this.#close();
  }

  /** Nobody listens: the browser need not show that we do. */
  #close(): void {
    const source = this.#source;
    this.#source = undefined;
    void source?.then((track) => track.stop()).catch(() => {});
  }
}

async function open(platform: Platform, constraints: MediaTrackConstraints | true): Promise<MediaStreamTrack> {
  try {
    return await platform.microphone(constraints);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CrosspointError("microphone", `the microphone cannot be used: ${why}`, { cause: error });
  }
}

function isTrack(source: AudioSource): source is MediaStreamTrack {
  return typeof source === "object" && "stop" in source && "kind" in source;
}
