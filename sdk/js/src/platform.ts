// What this library needs of its surroundings: a browser, or a test's stand-in for one.
import type { Unsubscribe } from "./emitter.js";

/** The part of a WebSocket that is used. @internal */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** Where the client keeps what it needs after a reload: `sessionStorage`, or anything with its methods. */
export interface Storage {
  /** The text under a key, or null. */
  getItem(key: string): string | null;
  /** Keeps a text under a key. */
  setItem(key: string, value: string): void;
  /** Forgets a key. */
  removeItem(key: string): void;
}

/** Everything outside the library's own rules. @internal */
export interface Platform {
  now(): number;
  random(): number;
  uuid(): string;
  after(ms: number, run: () => void): Unsubscribe;
  socket(url: string): Socket;
  connection(configuration: RTCConfiguration): RTCPeerConnection;
  microphone(constraints: MediaTrackConstraints | true): Promise<MediaStreamTrack>;
  camera(constraints: MediaTrackConstraints | true): Promise<MediaStreamTrack>;
  stream(tracks: MediaStreamTrack[]): MediaStream;
  /** The device has a network again, or another one. */
  onNetworkChange(listener: () => void): Unsubscribe;
  /** The page is looked at again; a phone may have let it sleep. */
  onWake(listener: () => void): Unsubscribe;
  /** The document goes, by a reload or for good. */
  onLeave(listener: () => void): Unsubscribe;
  /** Takes a name for this page alone, for as long as the page lives; false when another page has it. */
  claim(name: string): Promise<boolean>;
  storage: Storage | undefined;
}

/** How long a reloading page may still hold its name before we take it for another page, in ms: a busy device takes its time. */
const CLAIM_PATIENCE = 3_000;

/** The browser. @internal */
export function browser(): Platform {
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    uuid: () => crypto.randomUUID(),
    after(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    socket: (url) => new WebSocket(url) as Socket,
    connection: (configuration) => new RTCPeerConnection(configuration),
    async microphone(constraints) {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
      const [track] = stream.getAudioTracks();
      if (!track) throw new Error("the microphone gave no track");
      return track;
    },
    async camera(constraints) {
      const stream = await navigator.mediaDevices.getUserMedia({ video: constraints });
      const [track] = stream.getVideoTracks();
      if (!track) throw new Error("the camera gave no track");
      return track;
    },
    stream: (tracks) => new MediaStream(tracks),
    claim,
    onNetworkChange,
    onWake(listener) {
      const wake = () => document.hidden || listener();
      document.addEventListener("visibilitychange", wake);
      return () => document.removeEventListener("visibilitychange", wake);
    },
    onLeave(listener) {
      const leave = (event: PageTransitionEvent) => event.persisted || listener();
      addEventListener("pagehide", leave);
      return () => removeEventListener("pagehide", leave);
    },
    storage: typeof sessionStorage === "undefined" ? undefined : sessionStorage,
  };
}

function claim(name: string): Promise<boolean> {
  const locks = typeof navigator === "undefined" ? undefined : navigator.locks;
  if (!locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    // The document before a reload lets go of its locks when it is gone, which may be just after we ask.
    const request = locks.request(name, { signal: AbortSignal.timeout(CLAIM_PATIENCE) }, () => {
      resolve(true);
      return new Promise<never>(() => {});
    });
    request.catch(() => resolve(false));
  });
}

function onNetworkChange(listener: () => void): Unsubscribe {
  addEventListener("online", listener);
  // Not in every browser; the others notice by their ICE state.
  const connection = (navigator as { connection?: EventTarget & { type?: string } }).connection;
  let kind = connection?.type;
  const changed = () => {
    // The event also tells of new estimates of the speed, on the same network.
    if (connection?.type === kind) return;
    kind = connection?.type;
    listener();
  };
  connection?.addEventListener("change", changed);
  return () => {
    removeEventListener("online", listener);
    connection?.removeEventListener("change", changed);
  };
}
