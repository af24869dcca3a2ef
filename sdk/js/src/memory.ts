// What the client keeps over a reload, in sessionStorage: of this tab only, gone with it.
import type { CallRecord } from "./call.js";
import type { Storage } from "./platform.js";

/** @internal */
export interface Kept {
  url: string;
  token: string;
  client: string;
  received: number;
  calls: CallRecord[];
}

/** @internal */
export function recall(storage: Storage | undefined): Kept | undefined {
  try {
    const kept = JSON.parse(storage?.getItem(KEY) ?? "null") as Partial<Kept> | null;
    const whole = typeof kept?.url === "string" && typeof kept.token === "string" && typeof kept.client === "string";
    if (!whole) return undefined;
    return {
      url: kept.url!,
      token: kept.token!,
      client: kept.client!,
      received: typeof kept.received === "number" ? kept.received : 0,
      calls: Array.isArray(kept.calls) ? kept.calls : [],
    };
  } catch {
    return undefined;
  }
}

/** @internal */
export function keep(storage: Storage | undefined, kept: Kept): void {
  try {
    storage?.setItem(KEY, JSON.stringify(kept));
  } catch {
    // Full or forbidden: the client works, and does not survive a reload.
  }
}

/** @internal */
export function forget(storage: Storage | undefined): void {
  try {
    storage?.removeItem(KEY);
  } catch {
    // As above.
  }
}

const KEY = "crosspoint.client";
