// What the overview says, and what it said in the last minutes.
import type { Point } from "./charts";

/** The answer of `/overview`. */
export interface Overview {
  readonly at: number;
  readonly started_at: number;
  readonly version: string;
  readonly is_ready: boolean;
  readonly is_draining: boolean;
  readonly recording: boolean;
  readonly media_legs: number;
  readonly packets_received: number;
  readonly packets_forwarded: number;
  readonly connections: number;
  readonly bans: number;
  readonly defects: number;
  readonly cpu_ms: number | null;
  readonly cpus: number;
  readonly memory_bytes: number | null;
  readonly calls?: number;
  readonly legs?: number;
  readonly bindings?: number;
  readonly web_sessions?: number;
  readonly web_calls?: number;
  readonly calls_ended?: number;
  readonly calls_answered?: number;
  readonly causes?: Readonly<Record<string, number>>;
  readonly sip_requests?: number;
  readonly auth_failures?: number;
}

export const SPAN = 10 * 60_000;
const seen: Overview[] = [];

/** Keeps what is new of the last minutes. */
export function follow(now: Overview): void {
  const last = seen.at(-1);
  if (last && now.at <= last.at) return;
  // Another process: its counters begin anew.
  if (last && now.started_at !== last.started_at) seen.length = 0;
  seen.push(now);
  while (seen.length > 0 && seen[0]!.at < now.at - SPAN) seen.shift();
}

export function series(of: (overview: Overview) => number | null | undefined): Point[] {
  return seen.map((overview) => ({ at: overview.at, value: of(overview) ?? null }));
}

/** How fast a counter grows, each second. */
export function rate(of: (overview: Overview) => number | null | undefined): Point[] {
  return seen.slice(1).map((now, index) => {
    const before = seen[index]!;
    const [a, b] = [of(before), of(now)];
    const seconds = (now.at - before.at) / 1000;
    return { at: now.at, value: a == null || b == null || seconds <= 0 ? null : Math.max(0, (b - a) / seconds) };
  });
}
