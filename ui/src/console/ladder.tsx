// What was said in a call: why it came to that, a column for each party, and the quality under it.
// Nothing is needed but `<Ladder gcid=… api=… />`.
import { useEffect, useState } from "preact/hooks";
import { Chart, type Point } from "./charts";

/** What it fetches with; paths are those under `/api/v1`. */
export interface LadderApi {
  get<T>(path: string): Promise<T>;
  /** The address of a file, for links. */
  url(path: string): string;
}

interface Party {
  readonly id: number;
  readonly side: "caller" | "called" | "media_server";
  readonly name: string;
  readonly protocol: string;
  readonly address: string | null;
}

interface Entry {
  readonly at: number;
  readonly offset_ms: number;
  readonly party: number | null;
  readonly kind: "message" | "note";
  readonly title: string;
  readonly text: string | null;
  readonly what?: string;
  readonly protocol?: string;
  readonly direction?: "in" | "out";
  readonly length?: number;
  readonly is_cut?: boolean;
  readonly transport?: string | null;
  readonly local?: string | null;
  readonly remote?: string | null;
}

interface Sample {
  readonly at: number;
  readonly party: number;
  readonly mos: number | null;
  readonly loss_percent: number;
  readonly loss_at_peer_percent: number | null;
  readonly jitter_ms: number;
  readonly round_trip_ms: number | null;
}

type Verdict = "running" | "completed" | "unanswered" | "refused" | "cut" | "silent";

interface CallLadder {
  readonly gcid: string;
  readonly ended: number | null;
  readonly refused_early: boolean;
  readonly explanation: { readonly verdict: Verdict; readonly headline: string; readonly details: readonly string[] };
  readonly parties: readonly Party[];
  readonly entries: readonly Entry[];
  readonly dropped: { readonly count: number; readonly after: number };
  readonly quality: readonly Sample[];
}

export function Ladder({ gcid, api }: { gcid: string; api: LadderApi }) {
  const path = `/calls/${encodeURIComponent(gcid)}/ladder`;
  const { ladder, error } = useLadder(api, path);
  if (!ladder) {
    return <p class="ladder-none" role="status">{error ?? "Reading what was said…"}</p>;
  }
  return (
    <section class="ladder" aria-label="What was said">
      <Explanation ladder={ladder} />
      <Diagram ladder={ladder} />
      <p class="ladder-files">
        <a href={api.url(path)} download={`${gcid}.json`}>JSON</a>
        <a href={api.url(`${path}?format=pcap`)} download={`${gcid}.pcap`}>Capture (pcap)</a>
      </p>
      <Quality ladder={ladder} />
    </section>
  );
}

/** Fetched again while the call runs and the page can be seen. */
function useLadder(api: LadderApi, path: string): { ladder: CallLadder | undefined; error: string | undefined } {
  const [state, setState] = useState<{ path: string; ladder?: CallLadder; error?: string }>({ path });
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    const fetchOnce = async () => {
      let ladder: CallLadder | undefined;
      if (!document.hidden) {
        try {
          ladder = await api.get<CallLadder>(path);
          if (!isOver) setState({ path, ladder });
        } catch (failure) {
          const error = (failure as { status?: number }).status === 404
            ? "Nothing is kept of what was said in this call."
            : (failure as Error).message;
          if (!isOver) setState((before) => ({ path, ladder: before.path === path ? before.ladder : undefined, error }));
        }
      }
      // Figures of media come a moment after the end.
      const isDone = ladder && (ladder.refused_early || (ladder.ended !== null && Date.now() - ladder.ended > 10_000));
      if (!isOver && !isDone) timer = setTimeout(fetchOnce, PERIOD);
    };
    void fetchOnce();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [api, path]);
  return state.path === path ? { ladder: state.ladder, error: state.error } : { ladder: undefined, error: undefined };
}

function Explanation({ ladder }: { ladder: CallLadder }) {
  const { verdict, headline, details } = ladder.explanation;
  return (
    <div class={`ladder-why ${TONES[verdict]}`} data-verdict={verdict}>
      <p class="ladder-headline"><span class="ladder-verdict">{verdict}</span> {headline}</p>
      {details.length > 0 && <ul>{details.map((detail) => <li key={detail}>{detail}</li>)}</ul>}
    </div>
  );
}

/** Callers on the left, us in the middle, the called on the right, and media servers beside them. */
function columnsOf(parties: readonly Party[]): (Party | null)[] {
  const of = (side: Party["side"]) => parties.filter((party) => party.side === side);
  return [...of("caller"), null, ...of("called"), ...of("media_server")];
}

function Diagram({ ladder }: { ladder: CallLadder }) {
  const [open, setOpen] = useState<number>();
  const [withNotes, setWithNotes] = useState(true);
  const columns = columnsOf(ladder.parties);
  const place = (party: number | null) => Math.max(columns.findIndex((it) => (it?.id ?? null) === party), 0);
  const centre = (column: number) => ((column + 0.5) / columns.length) * 100;
  const rows = ladder.entries.map((entry, index) => ({ entry, index })).filter(({ entry }) => withNotes || entry.kind === "message");
  return (
    <div class="ladder-scroll">
      <label class="ladder-switch">
        <input type="checkbox" checked={withNotes} onChange={(event) => setWithNotes(event.currentTarget.checked)} /> Decisions and media steps
      </label>
      <div class="ladder-diagram" style={{ minWidth: `${5 + columns.length * 11}rem` }}>
        <div class="ladder-head">
          {columns.map((party, column) => (
            <div key={party?.id ?? "us"} class={party ? "ladder-party" : "ladder-party us"} style={{ left: `${centre(column)}%`, width: `${100 / columns.length}%` }}>
              <b>{party ? party.name || (party.side === "caller" ? "caller" : "called") : "Crosspoint"}</b>
              <small>{party ? [PROTOCOLS[party.protocol] ?? party.protocol, party.address].filter(Boolean).join(" · ") : ""}</small>
            </div>
          ))}
        </div>
        <ol class="ladder-rows">
          {rows.map(({ entry, index }) => (
            <li key={index}>
              {ladder.dropped.count > 0 && index === ladder.dropped.after && (
                <p class="ladder-gap">{ladder.dropped.count} entries were dropped here</p>
              )}
              <button type="button" class={`ladder-row ${entry.kind}`} aria-expanded={open === index} disabled={!entry.text} onClick={() => setOpen(open === index ? undefined : index)}>
                <time>{stamp(entry.offset_ms)}</time>
                <span class="ladder-track">
                  {columns.map((_, column) => <i key={column} class="ladder-life" style={{ left: `${centre(column)}%` }} />)}
                  {entry.kind === "message" ? <Arrow entry={entry} party={centre(place(entry.party))} us={centre(place(null))} /> : (
                    <span class={`ladder-note ${noteTone(entry.what)}`} style={{ left: `${centre(place(entry.party))}%` }}>{entry.title}</span>
                  )}
                </span>
              </button>
              {open === index && <Details entry={entry} />}
            </li>
          ))}
        </ol>
      </div>
    </div>
  );
}

function Arrow({ entry, party, us }: { entry: Entry; party: number; us: number }) {
  const [from, to] = entry.direction === "in" ? [party, us] : [us, party];
  const failed = /^[4-6]\d\d /.test(entry.title);
  return (
    <span class={`ladder-arrow ${from < to ? "right" : "left"}${failed ? " failed" : ""}`} style={{ left: `${Math.min(from, to)}%`, width: `${Math.abs(to - from)}%` }}>
      <span>{entry.title}</span>
    </span>
  );
}

function Details({ entry }: { entry: Entry }) {
  const [from, to] = entry.direction === "in" ? [entry.remote, entry.local] : [entry.local, entry.remote];
  return (
    <div class="ladder-details">
      <p>
        <time dateTime={new Date(entry.at).toISOString()}>{new Date(entry.at).toLocaleString("en-GB")}</time>
        {from && to && <span>{entry.transport} {from} → {to}</span>}
        {entry.length !== undefined && <span>{entry.length} bytes{entry.is_cut ? ", the end is not kept" : ""}</span>}
      </p>
      <pre tabIndex={0}>{entry.text}</pre>
    </div>
  );
}

function Quality({ ladder }: { ladder: CallLadder }) {
  const parties = ladder.parties.filter((party) => ladder.quality.some((sample) => sample.party === party.id));
  if (parties.length === 0) return null;
  const times = ladder.quality.map((sample) => sample.at);
  const span = Math.max(Math.max(...times) - Math.min(...times), 30_000);
  return (
    <div class="ladder-quality">
      {parties.map((party) => {
        const samples = ladder.quality.filter((sample) => sample.party === party.id);
        const of = (value: (sample: Sample) => number | null): Point[] => samples.map((sample) => ({ at: sample.at, value: value(sample) }));
        return (
          <section key={party.id} aria-label={`Quality of ${party.name || party.side}`}>
            <h3>{party.name || party.side}</h3>
            <div class="ladder-charts">
              <Figure label="MOS" points={of((it) => it.mos)} span={span} low={1} high={4.5} format={(n) => n.toFixed(2)} tone="green" />
              <Figure label="Loss" points={of((it) => it.loss_percent)} span={span} format={(n) => `${n.toFixed(1)} %`} tone="amber" />
              <Figure label="Jitter" points={of((it) => it.jitter_ms)} span={span} format={(n) => `${n.toFixed(1)} ms`} tone="blue" />
              <Figure label="Round trip" points={of((it) => it.round_trip_ms)} span={span} format={(n) => `${n.toFixed(0)} ms`} tone="violet" />
            </div>
          </section>
        );
      })}
    </div>
  );
}

interface FigureProps {
  label: string;
  points: readonly Point[];
  span: number;
  low?: number;
  high?: number;
  format(value: number): string;
  tone: "green" | "blue" | "amber" | "violet";
}

function Figure({ label, points, span, low, high, format, tone }: FigureProps) {
  const last = points.filter((point) => point.value !== null).at(-1)?.value;
  return (
    <figure>
      <figcaption>{label} <b>{last == null ? "–" : format(last)}</b></figcaption>
      <Chart label={label} points={points} span={span} low={low} high={high} format={format} tone={tone} height={64} />
    </figure>
  );
}

/** `+0.012`, `+12.345`, `+1:02.345`. */
function stamp(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  const seconds = (ms % 60_000) / 1000;
  return minutes > 0 ? `+${minutes}:${seconds.toFixed(3).padStart(6, "0")}` : `+${seconds.toFixed(3)}`;
}

function noteTone(what: string | undefined): string {
  if (["refused", "media_lost", "media_refused", "silent"].includes(what ?? "")) return "bad";
  return ["routed", "dialing", "transfer", "redirected", "operator", "timer", "took_over", "joined", "parked", "unparked"].includes(what ?? "") ? "decision" : "";
}

const TONES: Record<Verdict, string> = { running: "info", completed: "good", unanswered: "fair", refused: "poor", cut: "poor", silent: "poor" };
const PROTOCOLS: Record<string, string> = { sip: "SIP", rtcengine: "RTC:engine", call_api: "call API", ng: "ng" };
const PERIOD = 2000;
