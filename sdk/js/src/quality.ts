// How a call sounds, from the browser's counters; the score is the E-model's (ITU-T G.107, constants of G.113).
import type { Unsubscribe } from "./emitter.js";
import type { Platform } from "./platform.js";

/** How a call sounded over the last interval. A figure that is not known yet is `undefined`. */
export interface QualityReport {
  readonly at: Date;
  /** Estimated opinion of a listener here, 1 (bad) to 4.5 (excellent). */
  readonly mos: number | undefined;
  /** Packets lost on the way to us, and on the way from us as the far side reports it, in percent. */
  readonly lossIn: number | undefined;
  readonly lossOut: number | undefined;
  /** Variation of the packets' travel time, in ms. */
  readonly jitter: number | undefined;
  /** Round trip to the gateway (to the other browser, when media is direct), in ms. */
  readonly rtt: number | undefined;
  /** What the browser holds back to smooth the jitter, in ms. */
  readonly buffer: number | undefined;
  /** In use towards us, such as `opus`. */
  readonly codec: string | undefined;
  /** Sound only, without headers, in kbit/s. */
  readonly bitrateIn: number | undefined;
  readonly bitrateOut: number | undefined;
  /** How loud the far side and the microphone are, 0 to 1. */
  readonly levelIn: number | undefined;
  readonly levelOut: number | undefined;
  /** How our packets travel: `host`, `srflx`, `prflx`, `relay`, as the local candidate has it. */
  readonly path: string | undefined;
  /** Of a call in which a picture was sent or came. */
  readonly video: VideoReport | undefined;
}

/** How the pictures of a call do, each way. A figure that is not known, or of a way that has none, is `undefined`. */
export interface VideoReport {
  readonly in: PictureReport;
  readonly out: PictureReport;
  /** Packets lost on the way to us, and not repaired, in percent. */
  readonly lossIn: number | undefined;
  /** What keeps the browser from a better picture of ours: `bandwidth`, `cpu`, `none`. */
  readonly limitedBy: string | undefined;
}

/** One way of {@link VideoReport}. */
export interface PictureReport {
  /** Such as `VP8`. */
  readonly codec: string | undefined;
  readonly width: number | undefined;
  readonly height: number | undefined;
  readonly framesPerSecond: number | undefined;
  /** In kbit/s. */
  readonly bitrate: number | undefined;
}

/** Sums since the connection began. @internal */
export interface Counters {
  at: number;
  received: number;
  lost: number;
  bytesIn: number;
  bytesOut: number;
  bufferSeconds: number;
  bufferSamples: number;
  videoReceived: number;
  videoLost: number;
  videoBytesIn: number;
  videoBytesOut: number;
}

type Stats = Record<string, unknown> & { type: string; id: string };

/** Measures a connection at every interval until it is stopped. @internal */
export function watchQuality(
  platform: Platform,
  connection: RTCPeerConnection,
  interval: number,
  report: (quality: QualityReport) => void,
): Unsubscribe {
  let before: Counters | undefined;
  let stopped = false;
  let stopTimer: Unsubscribe = () => {};
  const measure = async () => {
    const stats = await connection.getStats().catch(() => undefined);
    if (stopped) return;
    if (stats) {
      const { counters, quality } = readStats(stats as ReadonlyMap<string, unknown>, platform.now(), before);
      // The first reading only gives the sums to compare with.
      if (before) report(quality);
      before = counters;
    }
    stopTimer = platform.after(interval, () => void measure());
  };
  void measure();
  return () => {
    stopped = true;
    stopTimer();
  };
}

/** @internal */
export function readStats(
  stats: ReadonlyMap<string, unknown>,
  now: number,
  before: Counters | undefined,
): { counters: Counters; quality: QualityReport } {
  const all = [...stats.values()] as Stats[];
  const one = (type: string, fits: (entry: Stats) => boolean = isAudio) => all.find((s) => s.type === type && fits(s));
  const inbound = one("inbound-rtp");
  const outbound = one("outbound-rtp");
  const remote = one("remote-inbound-rtp");
  const source = one("media-source");
  const transport = one("transport", () => true);
  const pair =
    one("candidate-pair", (s) => s.id === transport?.["selectedCandidatePairId"]) ??
    one("candidate-pair", (s) => s["nominated"] === true);
  const videoIn = one("inbound-rtp", isVideo);
  const videoOut = one("outbound-rtp", isVideo);
  const counters: Counters = {
    at: now,
    received: number(inbound, "packetsReceived") ?? 0,
    lost: number(inbound, "packetsLost") ?? 0,
    bytesIn: number(inbound, "bytesReceived") ?? 0,
    bytesOut: number(outbound, "bytesSent") ?? 0,
    bufferSeconds: number(inbound, "jitterBufferDelay") ?? 0,
    bufferSamples: number(inbound, "jitterBufferEmittedCount") ?? 0,
    videoReceived: number(videoIn, "packetsReceived") ?? 0,
    videoLost: number(videoIn, "packetsLost") ?? 0,
    videoBytesIn: number(videoIn, "bytesReceived") ?? 0,
    videoBytesOut: number(videoOut, "bytesSent") ?? 0,
  };
  const grown = (name: keyof Counters) => (before ? Math.max(0, counters[name] - before[name]) : 0);
  const due = grown("received") + grown("lost");
  const lossIn = due > 0 ? (100 * grown("lost")) / due : undefined;
  const samples = grown("bufferSamples");
  const buffer = samples > 0 ? (1000 * grown("bufferSeconds")) / samples : undefined;
  const rtt = milliseconds(number(remote, "roundTripTime") ?? number(pair, "currentRoundTripTime"));
  const codecOf = (entry: Stats | undefined) => {
    const mime = entry && (stats.get(entry["codecId"] as string) as Stats | undefined)?.["mimeType"];
    return typeof mime === "string" ? mime.replace(/^\w+\//, "") : undefined;
  };
  const codec = codecOf(inbound);
  const local = stats.get(pair?.["localCandidateId"] as string) as Stats | undefined;
  const rate = (bytes: number) => (before && counters.at > before.at ? (8 * bytes) / (counters.at - before.at) : undefined);
  const picture = (entry: Stats | undefined, bytes: number): PictureReport => ({
    codec: codecOf(entry),
    width: number(entry, "frameWidth"),
    height: number(entry, "frameHeight"),
    framesPerSecond: number(entry, "framesPerSecond"),
    bitrate: entry && rate(bytes),
  });
  const videoDue = grown("videoReceived") + grown("videoLost");
  const limit = videoOut?.["qualityLimitationReason"];
  const video: VideoReport | undefined = (videoIn ?? videoOut) && {
    in: picture(videoIn, grown("videoBytesIn")),
    out: picture(videoOut, grown("videoBytesOut")),
    lossIn: videoDue > 0 ? (100 * grown("videoLost")) / videoDue : undefined,
    limitedBy: typeof limit === "string" ? limit : undefined,
  };
  const fractionOut = number(remote, "fractionLost");
  return {
    counters,
    quality: {
      at: new Date(now),
      mos: lossIn === undefined ? undefined : score({ loss: lossIn, delay: (rtt ?? 0) / 2 + (buffer ?? 0), codec }),
      lossIn,
      lossOut: fractionOut === undefined ? undefined : 100 * fractionOut,
      jitter: milliseconds(number(inbound, "jitter")),
      rtt,
      buffer,
      codec,
      bitrateIn: rate(grown("bytesIn")),
      bitrateOut: rate(grown("bytesOut")),
      levelIn: number(inbound, "audioLevel"),
      levelOut: number(source, "audioLevel"),
      path: typeof local?.["candidateType"] === "string" ? local["candidateType"] : undefined,
      video,
    },
  };
}

/** The E-model's mean opinion score for loss in percent and one-way delay in ms. @internal */
export function score({ loss, delay, codec }: { loss: number; delay: number; codec: string | undefined }): number {
  const { impairment, robustness } = CODECS[codec?.toLowerCase() ?? ""] ?? CODECS["pcmu"]!;
  // The codec's own frame and look-ahead, and the far side's way to the gateway, which nobody measures here.
  const whole = delay + 30;
  const delayed = 0.024 * whole + (whole > 177.3 ? 0.11 * (whole - 177.3) : 0);
  const damaged = impairment + ((95 - impairment) * loss) / (loss + robustness);
  const rating = 93.2 - delayed - damaged;
  if (rating <= 0) return 1;
  if (rating >= 100) return 4.5;
  return Math.max(1, 1 + 0.035 * rating + 7e-6 * rating * (rating - 60) * (100 - rating));
}

/** Impairment by the codec itself, and how well it bears loss with concealment (G.113 appendix I; Opus by estimate). */
const CODECS: Record<string, { impairment: number; robustness: number }> = {
  pcmu: { impairment: 0, robustness: 25.1 },
  pcma: { impairment: 0, robustness: 25.1 },
  g722: { impairment: 0, robustness: 13.1 },
  opus: { impairment: 0, robustness: 28 },
};

function isAudio(entry: Stats): boolean {
  return entry["kind"] === "audio";
}

function isVideo(entry: Stats): boolean {
  return entry["kind"] === "video";
}

function number(entry: Stats | undefined, name: string): number | undefined {
  const value = entry?.[name];
  return typeof value === "number" ? value : undefined;
}

function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000;
}
