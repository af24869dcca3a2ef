// One call: while it runs with its quality and what may be done to it, and afterwards with what is kept of it.
import { useEffect, useRef, useState } from "preact/hooks";
import { Chart, type Point } from "../charts";
import type { Call, CallRecord, Leg, LegFigures, List } from "../calls";
import { useAction, useApi, useNow, usePoll } from "../hooks";
import { Icon } from "../icons";
import { LadderPlace } from "../places";
import { At, Badge, Button, Card, Confirm, Dot, Empty, ErrorNote, Facts, Loading, Page, Score } from "../parts";
import { count, grade, lasting, percent, phrase } from "../words";
import { CallState } from "./calls";
import { Player } from "./recordings";
import { Steps, stepsOf } from "./route";

export function CallPage({ gcid }: { gcid: string }) {
  const path = `/calls/${encodeURIComponent(gcid)}`;
  const [isOver, setOver] = useState(false);
  const live = usePoll<Call>(isOver ? null : path, 1500);
  const records = usePoll<List<CallRecord>>(`/records?gcid=${encodeURIComponent(gcid)}`, isOver ? 0 : 3000);
  const record = records.data?.items[0];
  // A call that came back to us under its id may run while a part of it is over.
  useEffect(() => {
    if (live.error && record) setOver(true);
  }, [live.error, record]);
  const call = live.error ? undefined : live.data;
  const heading = call ?? record;
  return (
    <Page
      title={heading ? `${heading.from || "unknown"} → ${heading.to}` : "Call"}
      about={<span class="inline"><a href="#/calls" class="crumb"><Icon name="back" /> Calls</a> <code class="clip">{gcid}</code></span>}
    >
      {call ? <Live call={call} path={path} reload={live.reload} /> : record ? <Over record={record} /> : live.error && records.data ? (
        <Card><Empty icon="calls" title="No call runs under this id">There is no record of one either. A call that was refused before it began has only what is below.</Empty></Card>
      ) : <Loading />}
      <LadderPlace gcid={gcid} />
    </Page>
  );
}

function Live({ call, path, reload }: { call: Call; path: string; reload(): Promise<void> }) {
  const now = useNow();
  const seen = useSeen(call);
  return (
    <>
      <Card>
        <div class="call-head">
          <Facts items={[
            ["State", <CallState call={call} />],
            ["Duration", <time>{lasting(now - (call.answered_at ?? call.started_at))}</time>],
            ["Began", <At ms={call.started_at} />],
            ["Answered", <At ms={call.answered_at} />],
            ["Trunk", call.trunk ?? "–"],
            ["Media", call.media === "direct" ? "direct, not through us" : "through us"],
          ]} />
          <Actions call={call} path={path} reload={reload} />
        </div>
      </Card>
      <div class="legs">
        {call.legs.map((leg) => <LegCard key={leg.id} leg={leg} call={call} points={seen.get(leg.id) ?? []} />)}
      </div>
    </>
  );
}

interface Seen {
  readonly at: number;
  readonly leg: Leg;
}

/** What its legs said since the page was opened. */
function useSeen(call: Call): ReadonlyMap<string, readonly Seen[]> {
  const seen = useRef(new Map<string, Seen[]>());
  const last = useRef<Call>();
  if (last.current !== call) {
    last.current = call;
    const at = Date.now();
    for (const leg of call.legs) {
      const points = seen.current.get(leg.id) ?? [];
      points.push({ at, leg });
      while (points[0] && points[0].at < at - LEG_SPAN) points.shift();
      seen.current.set(leg.id, points);
    }
  }
  return seen.current;
}

const LEG_SPAN = 5 * 60_000;
const TONES = { good: "green", fair: "amber", poor: "red", unknown: "green" } as const;

function LegCard({ leg, call, points }: { leg: Leg; call: Call; points: readonly Seen[] }) {
  const of = (value: (leg: Leg) => number | null | undefined): Point[] => points.map((point) => ({ at: point.at, value: value(point.leg) ?? null }));
  const quality = leg.quality;
  const title = leg.side === "caller" ? "Caller" : leg.side === "called" ? "Called" : leg.role === "front" ? "Caller's other leg" : "Rings, or was left";
  const name = leg.user ?? (leg.side === "caller" ? call.from : leg.side === "called" ? call.to : "");
  return (
    <Card title={<span class="inline">{title} <span class="soft clip">{name}</span></span>} actions={<Score mos={quality?.mos} silent={leg.silent} />}>
      <p class="inline leg-state">
        <Dot tone={leg.answered ? "good" : "fair"} pulse={!leg.answered} /> {leg.answered ? "answered" : "not answered"} · {leg.media === "webrtc" ? "browser (WebRTC)" : "telephone (RTP)"}
        {leg.on_hold && <Badge tone="info">held</Badge>}
      </p>
      <Chart label="Score" points={of((it) => it.quality?.mos)} span={LEG_SPAN} low={1} high={4.5} format={(n) => n.toFixed(1)} height={72} tone={TONES[grade(quality?.mos).grade]} />
      <Facts items={[
        ["Loss from it", quality ? percent(quality.loss) : "–"],
        ["Loss to it", quality?.loss_out == null ? "–" : percent(quality.loss_out)],
        ["Jitter", quality ? `${quality.jitter_ms} ms` : "–"],
        ["Round trip", quality?.round_trip_ms == null ? "–" : `${quality.round_trip_ms} ms`],
        ...(quality?.video ? [["Pictures", `${quality.video.codec}, ${quality.video.kbit_in} in, ${quality.video.kbit_out} kbit/s out`] as const] : []),
      ]} />
    </Card>
  );
}

function Actions({ call, path, reload }: { call: Call; path: string; reload(): Promise<void> }) {
  const api = useApi();
  const action = useAction();
  const [ending, setEnding] = useState(false);
  const [digits, setDigits] = useState("");
  const [side, setSide] = useState("called");
  const post = (what: string, body: object) => void action.run(async () => {
    await api.send("POST", `${path}/${what}`, body);
    await reload();
  });
  const recording = call.recording;
  const isActive = call.state === "active";
  if (!api.may("control")) return <p class="soft">Your role shows calls and does not change them.</p>;
  return (
    <div class="call-actions">
      <div class="inline wrap">
        {api.may("record") && isActive && (recording ? (
          <>
            <Button icon="stop" label="Stop recording" disabled={action.busy} onClick={() => post("recording", { action: "stop" })} />
            {recording.state === "running" ? (
              <Button icon="pause" label="Pause recording" disabled={action.busy} onClick={() => post("recording", { action: "pause" })} />
            ) : (
              <Button icon="record" label="Go on recording" disabled={action.busy} onClick={() => post("recording", { action: recording.state === "masked" ? "unmask" : "resume" })} />
            )}
          </>
        ) : (
          <Button icon="record" label="Record" disabled={action.busy} onClick={() => post("recording", { action: "start" })} />
        ))}
        {api.may("record") && isActive && (call.capture ? (
          <Button icon="stop" label="End the capture" disabled={action.busy} onClick={() => post("capture", { action: "stop" })} />
        ) : (
          <Button icon="download" label="Capture packets" disabled={action.busy} onClick={() => post("capture", { action: "start" })} />
        ))}
        {isActive && <Button icon="play" label="Play a tone" disabled={action.busy} onClick={() => post("play", { side, tone: { frequency: 440, duration_ms: 1000 }, mix: true })} />}
        {call.stream && <Button icon="stop" label="End the stream" onClick={() => void action.run(() => api.send("DELETE", `${path}/stream`))} />}
        <Button icon="end" label="Hang up" tone="danger" onClick={() => setEnding(true)} />
      </div>
      {isActive && (
        <form class="inline wrap" onSubmit={(event) => { event.preventDefault(); post("dtmf", { side, digits: digits.toUpperCase() }); setDigits(""); }}>
          <select aria-label="Which side" value={side} onChange={(event) => setSide(event.currentTarget.value)}>
            <option value="called">To the called</option>
            <option value="caller">To the caller</option>
            <option value="both">To both</option>
          </select>
          <input class="short" aria-label="Digits" placeholder="Digits" value={digits} pattern="[0-9*#A-Da-d]{1,32}" required onInput={(event) => setDigits(event.currentTarget.value)} />
          <Button icon="keypad" label="Send" type="submit" disabled={action.busy} />
        </form>
      )}
      <ErrorNote error={action.error} />
      <Confirm title="Hang up?" verb="Hang up" open={ending} onClose={() => setEnding(false)} act={async () => {
        await api.send("DELETE", path);
        await reload();
      }}>
        The call from <b>{call.from}</b> to <b>{call.to}</b> ends for both sides.
      </Confirm>
    </div>
  );
}

function Over({ record }: { record: CallRecord }) {
  const recordings = record.recordings ?? [];
  return (
    <>
      <Card>
        <Facts items={[
          ["Ended", <span class="inline"><Cause record={record} /> by {partyWord(record.ended_by)}</span>],
          ["Duration", record.answered_at === null ? "not answered" : lasting(record.duration_ms)],
          ["Began", <At ms={record.started_at} />],
          ["Answered", <At ms={record.answered_at} />],
          ["Over", <At ms={record.ended_at} />],
          ["Trunk", record.trunk ?? "–"],
          ["Not heard", record.silent_from === null || record.silent_from === "none" ? "nobody" : record.silent_from],
          ...(record.caller_check ? [["Caller's signature", record.caller_check] as const] : []),
          ...(record.diverted ? [["Sent on", record.diverted.join(", ")] as const] : []),
          ...(record.parked ? [["Parked", record.parked.join("; ")] as const] : []),
        ]} />
      </Card>
      <div class="legs">
        <Figures title="Caller" name={record.from} figures={record.front_media} />
        <Figures title="Called" name={record.to} figures={record.back_media} />
      </div>
      {recordings.length > 0 && (
        <Card title="Recordings">
          <div class="stack">{recordings.map((name) => <Player key={name} name={name} />)}</div>
        </Card>
      )}
      <Card title="Why it went where it went">
        <Steps steps={stepsOf(record.why)} />
      </Card>
    </>
  );
}

function Figures({ title, name, figures }: { title: string; name: string; figures: LegFigures | null }) {
  const number = (n: number | null | undefined) => (n == null ? "–" : count(n));
  const ms = (n: number | null | undefined) => (n == null ? "–" : `${n.toFixed(0)} ms`);
  return (
    <Card title={<span class="inline">{title} <span class="soft clip">{name}</span></span>} actions={<Score mos={figures?.mos} />}>
      <Facts items={[
        ["Codec", figures?.codec ?? "–"],
        ["Worst score", figures?.mos_lowest?.toFixed(1) ?? "–"],
        ["Received", number(figures?.packets_received)],
        ["Sent", number(figures?.packets_sent)],
        ["Lost", number(figures?.packets_lost)],
        ["Jitter", ms(figures?.jitter_ms)],
        ["Round trip", ms(figures?.round_trip_ms)],
      ]} />
    </Card>
  );
}

export function Cause({ record }: { record: CallRecord }) {
  const isFine = record.cause === "normal" || record.cause === "answered_elsewhere" || record.cause === "transferred";
  const isQuiet = ["cancelled", "busy", "no_answer", "declined"].includes(record.cause);
  return <Badge tone={isFine ? "good" : isQuiet ? "unknown" : "poor"}>{phrase(record.cause)}</Badge>;
}

function partyWord(party: string): string {
  return party === "front" ? "the caller" : party === "back" ? "the called side" : "the gateway";
}
