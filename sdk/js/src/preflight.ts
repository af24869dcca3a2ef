// Before a call that matters: can this browser hear, reach the gateway, and be heard?
import type { Call } from "./call.js";
import type { Client } from "./client.js";
import { CrosspointError } from "./errors.js";
import { readStats, type QualityReport } from "./quality.js";
import { Ear, Whistle } from "./tone.js";

/** How a step went. `skipped`: there was nothing to try, or a step before it failed. */
export type Verdict = "passed" | "warning" | "failed" | "skipped";

/** One step of the preflight. */
export interface PreflightStep {
  readonly name: "microphone" | "network" | "relay" | "sound";
  readonly verdict: Verdict;
  /** One sentence for people. */
  readonly text: string;
  /** What was measured, by name; the unit is part of the name. */
  readonly figures: Readonly<Record<string, number | string>>;
}

/** All steps, and the worst verdict among them. */
export interface PreflightReport {
  readonly verdict: Verdict;
  readonly steps: readonly PreflightStep[];
}

/** What to test with. */
export interface PreflightOptions {
  /** The number that gives back what it hears; 600 unless told otherwise. */
  echo?: string;
  /** The account to call it from; the first connected one unless told otherwise. */
  account?: string;
  /** The TURN servers to try; the client's unless told otherwise. */
  iceServers?: RTCIceServer[];
  /** Told of each step when it is done. */
  onStep?: (step: PreflightStep) => void;
  /** Ends the test early; the steps that remain are skipped. */
  signal?: AbortSignal;
}

/**
 * Tests the microphone, the way to the gateway, the relay, and sound there and back: it calls the echo number,
 * plays a tone, and waits until the tone comes back. Takes a few seconds and never rejects.
 */
export async function preflight(client: Client, options: PreflightOptions = {}): Promise<PreflightReport> {
  const steps: PreflightStep[] = [];
  const done = (step: PreflightStep) => {
    steps.push(step);
    options.onStep?.(step);
  };
  const context = new AudioContext();
  try {
    await context.resume();
    done(await attempt("microphone", options, () => microphone(context)));
    done(await attempt("relay", options, () => relay(options.iceServers ?? client.iceServers)));
    let quality: QualityReport | undefined;
    let sound: PreflightStep | undefined;
    done(
      await attempt("network", options, async () => {
        const result = await echo(client, context, options);
        sound = result.sound;
        quality = result.quality;
        return network(result.path, quality);
      }),
    );
    done(sound ?? { name: "sound", verdict: "skipped", text: "There was no call to test the sound with.", figures: {} });
  } finally {
    await context.close();
  }
  const worst = VERDICTS.find((verdict) => steps.some((step) => step.verdict === verdict)) ?? "skipped";
  return { verdict: worst, steps };
}

async function attempt(
  name: PreflightStep["name"],
  options: PreflightOptions,
  run: () => Promise<Omit<PreflightStep, "name">>,
): Promise<PreflightStep> {
  if (options.signal?.aborted) return { name, verdict: "skipped", text: "Not tested.", figures: {} };
  try {
    return { name, ...(await run()) };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { name, verdict: "failed", text: sentence(text), figures: {} };
  }
}

async function microphone(context: AudioContext): Promise<Omit<PreflightStep, "name">> {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const ear = new Ear(context, stream);
  try {
    let loudest = 0;
    await poll(LISTEN_MS, () => {
      loudest = Math.max(loudest, ear.level());
      return false;
    });
    const label = stream.getAudioTracks()[0]?.label ?? "";
    const figures = { device: label, level: round(loudest, 4) };
    return loudest > 0.0001
      ? { verdict: "passed", text: `${label || "The microphone"} works.`, figures }
      : { verdict: "warning", text: `${label || "The microphone"} is silent: is it switched off?`, figures };
  } finally {
    ear.close();
    for (const track of stream.getTracks()) track.stop();
  }
}

async function relay(iceServers: RTCIceServer[]): Promise<Omit<PreflightStep, "name">> {
  const turn = iceServers.filter(({ urls }) => [urls].flat().some((url) => /^turns?:/.test(url)));
  if (turn.length === 0) {
    return { verdict: "skipped", text: "No relay is configured; the gateway is reached directly.", figures: {} };
  }
  const connection = new RTCPeerConnection({ iceServers: turn, iceTransportPolicy: "relay" });
  const begun = performance.now();
  try {
    let found: RTCIceCandidate | undefined;
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.type === "relay") found ??= candidate;
    };
    connection.addTransceiver("audio");
    await connection.setLocalDescription();
    await poll(RELAY_MS, () => found !== undefined || connection.iceGatheringState === "complete");
    if (!found) return { verdict: "failed", text: "The relay does not answer.", figures: {} };
    const figures = { protocol: found.protocol ?? "", afterMs: Math.round(performance.now() - begun) };
    return { verdict: "passed", text: "The relay answers.", figures };
  } finally {
    connection.close();
  }
}

interface Echo {
  path: { type: string; candidates: string; afterMs: number };
  quality: QualityReport | undefined;
  sound: PreflightStep;
}

/** Calls the echo number with a tone for a microphone. */
async function echo(client: Client, context: AudioContext, options: PreflightOptions): Promise<Echo> {
  const chosen = options.account;
  const account = chosen ? client.account(chosen) : [...client.accounts.values()].find((a) => a.state === "connected");
  if (!account) throw new CrosspointError("invalid-state", "no account is connected");
  const whistle = new Whistle(context, TONE_HZ);
  const begun = performance.now();
  const call = account.call(options.echo ?? "600", { audio: whistle.track });
  const stop = () => call.hangup();
  options.signal?.addEventListener("abort", stop);
  try {
    await within(ANSWER_MS, call.whenActive(), "the echo number does not answer");
    const connected = () => ["connected", "completed"].includes(call.connection?.iceConnectionState ?? "");
    if (!(await poll(ANSWER_MS, connected))) throw new CrosspointError("timeout", "no sound gets through to the gateway");
    const path = { ...(await candidates(call)), afterMs: Math.round(performance.now() - begun) };
    const before = await measure(call);
    const sound = await roundTrip(call, context, whistle);
    const { quality } = await measure(call, before.counters);
    return { path: { ...path, type: quality.path ?? path.type }, quality, sound };
  } finally {
    options.signal?.removeEventListener("abort", stop);
    call.hangup();
    whistle.stop();
  }
}

async function measure(call: Call, before?: ReturnType<typeof readStats>["counters"]): Promise<ReturnType<typeof readStats>> {
  const stats = await call.connection?.getStats();
  return readStats((stats ?? new Map()) as ReadonlyMap<string, unknown>, performance.now(), before);
}

/** Plays the tone a few times and takes the time until each comes back. */
async function roundTrip(call: Call, context: AudioContext, whistle: Whistle): Promise<PreflightStep> {
  if (!call.remoteStream) throw new CrosspointError("timeout", "the echo number sends no sound");
  const ear = new Ear(context, call.remoteStream);
  const times: number[] = [];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await poll(TONE_MS, () => !ear.hears(TONE_HZ));
      whistle.play(true);
      const begun = performance.now();
      const came = await poll(TONE_MS, () => ear.hears(TONE_HZ));
      if (came) times.push(performance.now() - begun);
      // Long enough to be heard as sound, and for the counters to say something.
      await poll(PLAY_MS, () => false);
      whistle.play(false);
    }
  } finally {
    ear.close();
  }
  const figures = { heard: times.length, of: ROUNDS };
  if (times.length === 0) return { name: "sound", verdict: "failed", text: "The tone did not come back.", figures };
  const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;
  const slow = median > SLOW_MS || times.length < ROUNDS;
  return {
    name: "sound",
    verdict: slow ? "warning" : "passed",
    text: slow ? `The tone came back ${times.length} of ${ROUNDS} times, after ${Math.round(median)} ms.` : `The tone comes back after ${Math.round(median)} ms.`,
    figures: { ...figures, roundTripMs: Math.round(median) },
  };
}

function network(path: Echo["path"], quality: QualityReport | undefined): Omit<PreflightStep, "name"> {
  const figures: Record<string, number | string> = {
    path: path.type,
    candidates: path.candidates,
    connectedAfterMs: path.afterMs,
    ...(quality?.rtt === undefined ? {} : { rttMs: round(quality.rtt, 1) }),
    ...(quality?.jitter === undefined ? {} : { jitterMs: round(quality.jitter, 1) }),
    ...(quality?.lossIn === undefined ? {} : { lossPercent: round(quality.lossIn, 2) }),
    ...(quality?.mos === undefined ? {} : { mos: round(quality.mos, 2) }),
  };
  const words = { host: "directly", srflx: "through a router", prflx: "through a router", relay: "through a relay" };
  const way = words[path.type as keyof typeof words] ?? "somehow";
  if (quality?.mos !== undefined && quality.mos < FAIR_MOS) {
    return { verdict: "warning", text: `The gateway is reached ${way}, but the line is poor.`, figures };
  }
  return { verdict: "passed", text: `The gateway is reached ${way}.`, figures };
}

/** Which way the packets take, and which kinds of candidates we had. */
async function candidates(call: Call): Promise<{ type: string; candidates: string }> {
  const stats = await call.connection?.getStats();
  const all = [...(stats as unknown as Map<string, Record<string, unknown>> | undefined)?.values() ?? []];
  const kinds = new Set(all.filter((s) => s["type"] === "local-candidate").map((s) => String(s["candidateType"])));
  const pair = all.find((s) => s["type"] === "candidate-pair" && (s["nominated"] === true || s["state"] === "succeeded"));
  const local = all.find((s) => s["id"] === pair?.["localCandidateId"]);
  return { type: String(local?.["candidateType"] ?? ""), candidates: [...kinds].join(" ") };
}

/** Looks every 20 ms; tells whether it happened in time. */
async function poll(ms: number, look: () => boolean): Promise<boolean> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (look()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return look();
}

function within<Value>(ms: number, promise: Promise<Value>, message: string): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new CrosspointError("timeout", message)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Worst first; a report of skipped steps only has tested nothing. */
const VERDICTS: readonly Verdict[] = ["failed", "warning", "passed"];

const TONE_HZ = 1_000;
const ROUNDS = 3;
/** Above this, people begin to talk at the same time (ITU-T G.114 has 400 ms as the limit one way). */
const SLOW_MS = 800;
const FAIR_MOS = 3.6;

const LISTEN_MS = 800;
const RELAY_MS = 8_000;
const ANSWER_MS = 10_000;
const TONE_MS = 3_000;
const PLAY_MS = 600;
