// What pages live on: the address, answers that are fetched again and again, and the time.
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { createContext } from "preact";
import type { Api } from "./api";

export const ApiContext = createContext<Api>(undefined as unknown as Api);
export const useApi = () => useContext(ApiContext);

/** The parts of `#/calls/abc?x=1`: what is shown, and what of it. */
export interface Place {
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}

export function placeNow(): Place {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodePart), query: new URLSearchParams(query) };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function usePlace(): Place {
  const [place, setPlace] = useState(placeNow);
  useEffect(() => {
    const changed = () => setPlace(placeNow());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return place;
}

export interface Answer<T> {
  readonly data: T | undefined;
  /** Why the newest question got no answer; what was known before stays. */
  readonly error: string | undefined;
  reload(): Promise<void>;
}

/** What was answered last, so that a page that is come back to is there at once. */
const known = new Map<string, unknown>();

/**
 * Fetches `path` now and every `period` milliseconds while the page can be seen; nothing while it is null.
 * What is there stays until there is something newer: nothing flickers.
 */
export function usePoll<T>(path: string | null, period = 2000): Answer<T> {
  const api = useApi();
  const [, redraw] = useState(0);
  const error = useRef<string>();
  const ask = useRef<() => Promise<void>>(async () => {});
  useEffect(() => {
    error.current = undefined;
    if (path === null) return;
    let timer: number | undefined;
    let over = false;
    let asked = 0;
    const fetchOnce = async () => {
      const mine = ++asked;
      try {
        const data = await api.get<T>(path);
        // An answer that was overtaken is old.
        if (over || mine !== asked) return;
        remember(path, data);
        error.current = undefined;
      } catch (failure) {
        if (over || mine !== asked) return;
        error.current = (failure as Error).message;
      }
      redraw((n) => n + 1);
    };
    const turn = async () => {
      clearTimeout(timer);
      if (!document.hidden) await fetchOnce();
      if (!over && period > 0) timer = setTimeout(turn, period);
    };
    ask.current = fetchOnce;
    const seen = () => !document.hidden && void turn();
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [api, path, period]);
  return { data: path === null ? undefined : (known.get(path) as T | undefined), error: error.current, reload: () => ask.current() };
}

function remember(path: string, data: unknown): void {
  known.delete(path);
  known.set(path, data);
  if (known.size > 60) known.delete(known.keys().next().value!);
}

/** Nothing of one operator is shown to the next. */
export function forgetAnswers(): void {
  known.clear();
}

/** The time, drawn anew every second. */
export function useNow(period = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), period);
    return () => clearInterval(timer);
  }, [period]);
  return now;
}

/** Does something once at a time; tells what went wrong. */
export function useAction(): { busy: boolean; error: string | undefined; run(work: () => Promise<unknown>): Promise<boolean>; clear(): void } {
  const [state, setState] = useState<{ busy: boolean; error?: string }>({ busy: false });
  return {
    busy: state.busy,
    error: state.error,
    clear: () => setState({ busy: false }),
    async run(work) {
      setState({ busy: true });
      try {
        await work();
        setState({ busy: false });
        return true;
      } catch (failure) {
        setState({ busy: false, error: (failure as Error).message });
        return false;
      }
    },
  };
}
