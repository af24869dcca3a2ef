// The pictures of one call: which of ours the far side is shown, and whether it shows any.
import { isTrack, type Device, type PictureSource, type Tap, type VideoSource } from "./device.js";
import { CrosspointError } from "./errors.js";
import type { Media, Showing } from "./media.js";
import type { Platform } from "./platform.js";

/** What is kept of a call's pictures over a reload. @internal */
export type KeptPicture = "camera" | "receive" | "refuse";

/** What the pictures need of their call. @internal */
export interface PictureHost {
  readonly platform: Platform;
  readonly camera: Device;
  /** The connection, while there is one. */
  media(): Media | undefined;
  /** Agrees with the far side on what is shown now. */
  request(): Promise<void>;
  over(): Error;
  /** Our own picture is another, or gone. */
  own(stream: MediaStream | undefined): void;
  /** The far side begins or ceases to show itself. */
  remote(shown: boolean): void;
  changed(): void;
}

/** @internal */
export class Picture {
  muted: boolean;
  held = false;
  /** Our own picture, while we show one. */
  own: MediaStream | undefined;
  /** Whether the far side shows one. */
  remote = false;

  readonly #host: PictureHost;
  #source: PictureSource | undefined;
  #tap: Tap | undefined;
  /** A description of ours has a line for pictures, whether or not we show one. */
  #wanted: boolean;
  #takes: boolean;
  #turns: Promise<unknown> = Promise.resolve();

  constructor(host: PictureHost, kept: KeptPicture | undefined, muted: boolean) {
    this.#host = host;
    this.muted = muted;
    this.#source = kept === "camera" ? true : undefined;
    this.#wanted = kept === "camera" || kept === "receive";
    this.#takes = kept !== "refuse";
  }

  get showing(): Showing {
    return { track: this.#tap?.track, wanted: this.#wanted, takes: this.#takes };
  }

  get kept(): KeptPicture | undefined {
    if (this.#source !== undefined && !isTrack(this.#source)) return "camera";
    if (this.remote || this.#wanted) return "receive";
    return this.#takes ? undefined : "refuse";
  }

  /** What the application wants of a call that begins. */
  choose(video: VideoSource | undefined): void {
    if (video === undefined) return;
    this.#source = video === false || video === "receive" ? undefined : video;
    this.#wanted = video !== false;
    this.#takes = video !== false;
  }

  /** Gets ready what is to be shown, for a connection that is about to be made. */
  async open(): Promise<void> {
    if (this.#source === undefined || this.#tap) return;
    this.#tap = await this.#open(this.#source);
    this.draw();
  }

  /** The camera of a call that comes back cannot be had: it goes on without. */
  forgo(): void {
    this.#source = undefined;
  }

  /** The connection is closed; another may follow. */
  close(): void {
    this.#wanted ||= this.remote;
    this.#release();
    this.#seen(false);
  }

  /** Shows a picture, or another one. Resolves when the far side takes it. */
  add(source: PictureSource | "receive"): Promise<void> {
    return this.#inTurn(async () => {
      const fresh = source === "receive" ? undefined : await this.#open(source);
      const media = this.#host.media();
      if (!media) {
        fresh?.release();
        throw this.#host.over();
      }
      const before = { source: this.#source, tap: this.#tap, wanted: this.#wanted };
      this.#source = source === "receive" ? undefined : source;
      this.#tap = fresh;
      this.#takes = true;
      this.#wanted = true;
      this.draw();
      try {
        if (await media.show(this.showing)) await this.#host.request();
      } catch (error) {
        fresh?.release();
        if (this.#tap === fresh) {
          ({ source: this.#source, tap: this.#tap, wanted: this.#wanted } = before);
          this.draw();
          await this.#host.media()?.show(this.showing);
        }
        throw error;
      }
      before.tap?.release();
      if (this.#tap !== fresh || !media.hasPictures) {
        throw new CrosspointError("change-refused", "the far side takes no pictures");
      }
    });
  }

  /** Takes our picture away; that of the far side stays. The camera is off at once. */
  remove(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#tap) return;
      this.#source = undefined;
      this.#wanted = this.remote;
      this.#release();
      const media = this.#host.media();
      if (media && (await media.show(this.showing))) await this.#host.request();
    });
  }

  /** What both sides have agreed on. */
  agreed(receives: boolean, refused: boolean): void {
    if (refused) {
      this.#source = undefined;
      this.#wanted = false;
      this.#release();
      void this.#host.media()?.show(this.showing).catch(() => {});
    }
    this.#seen(receives);
  }

  /** Our picture as it is to be seen now: here, and by the far side. */
  draw(): void {
    const track = this.#tap?.track;
    if (track) track.enabled = !this.muted && !this.held;
    if (this.own?.getVideoTracks()[0] === track) return;
    this.own = track && this.#host.platform.stream([track]);
    this.#host.own(this.own);
  }

  #open(source: PictureSource): Promise<Tap> {
    return this.#host.camera.tap(source, () => {
      this.draw();
      void this.#host.media()?.show(this.showing).catch(() => {});
    });
  }

  #release(): void {
    this.#tap?.release();
    this.#tap = undefined;
    this.draw();
  }

  #seen(remote: boolean): void {
    if (this.remote === remote) return;
    this.remote = remote;
    this.#host.remote(remote);
  }

  /** One change after the other. */
  #inTurn(run: () => Promise<void>): Promise<void> {
    const turn = this.#turns.then(run);
    this.#turns = turn.catch(() => {});
    return turn.finally(() => this.#host.changed());
  }
}
