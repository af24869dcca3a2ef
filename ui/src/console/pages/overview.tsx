// How everything does now, and did in the last minutes.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Chart, type Point } from "../charts";
import type { Call, List } from "../calls";
import { rate, series, SPAN, type Overview } from "../figures";
import { useApi, useNow, usePoll } from "../hooks";
import { Badge, Button, Card, Confirm, Dot, Empty, Loading, Page, Score } from "../parts";
import { bytes, count, lasting, phrase, plural } from "../words";
import { legOf } from "../calls";
import type { Trunk } from "./trunks";
import { stateTone } from "./trunks";

export function OverviewPage() {
  const overview = usePoll<Overview>("/overview", 0).data;
  const calls = usePoll<List<Call>>("/calls", 2000).data;
  const trunks = usePoll<List<Trunk>>("/trunks", 5000).data;
  const now = useNow();
  const api = useApi();
  const [draining, setDraining] = useState(false);
  if (!overview) return <Page title="Overview"><Loading /></Page>;
  const cpu = rate((o) => o.cpu_ms).map((p): Point => ({ ...p, value: p.value === null ? null : p.value / 10 / overview.cpus }));
  const packets = rate((o) => o.packets_received);
  return (
    <Page
      title="Overview"
      about={<><Dot tone={overview.is_ready ? "good" : "poor"} /> {overview.is_ready ? "Takes calls" : overview.is_draining ? "Takes no new calls: it drains" : "Takes no calls"} · running for {lasting(now - overview.started_at)} · version {overview.version}</>}
      actions={api.may("drain") && <Button label={overview.is_draining ? "Take calls again" : "Drain"} onClick={() => setDraining(true)} />}
    >
      <Confirm
        title={overview.is_draining ? "Take calls again?" : "Take no new calls?"}
        verb={overview.is_draining ? "Take calls" : "Drain"}
        tone={overview.is_draining ? "primary" : "danger"}
        open={draining}
        onClose={() => setDraining(false)}
        act={() => api.send(overview.is_draining ? "DELETE" : "POST", "/drain", overview.is_draining ? undefined : {})}
      >
        {overview.is_draining ? "New calls are taken at once." : "Callers are told to come back later, and health checks say that we are not ready. Running calls go on; the process stays."}
      </Confirm>
      <div class="tiles">
        <Tile title="Calls" href="#/calls" value={count(overview.calls ?? 0)} note={`${count(overview.calls_answered ?? 0)} of ${count(overview.calls_ended ?? 0)} answered since the start`}>
          <Chart label="Calls" points={series((o) => o.calls)} span={SPAN} format={count} />
        </Tile>
        <Tile title="Signed in" href="#/registrations" value={count(overview.bindings ?? 0)} note={`${count(overview.web_sessions ?? 0)} browsers and apps`}>
          <Chart label="Signed in" points={series((o) => o.bindings)} span={SPAN} format={count} tone="blue" />
        </Tile>
        <Tile title="Media" value={`${count(Math.round(last(packets)))} packets/s`} note={plural(overview.media_legs, "leg")}>
          <Chart label="Packets a second" points={packets} span={SPAN} format={(n) => count(Math.round(n))} tone="violet" />
        </Tile>
        <Tile title="Processor" value={`${last(cpu).toFixed(1)} %`} note={`of ${overview.cpus} ${overview.cpus === 1 ? "core" : "cores"}`}>
          <Chart label="Processor" points={cpu} span={SPAN} format={(n) => `${n.toFixed(n < 10 ? 1 : 0)} %`} tone="amber" />
        </Tile>
        <Tile title="Memory" value={overview.memory_bytes === null ? "–" : bytes(overview.memory_bytes)} note={plural(overview.connections, "connection")}>
          <Chart label="Memory" points={series((o) => o.memory_bytes)} span={SPAN} format={bytes} tone="blue" />
        </Tile>
        <Tile title="Requests" value={`${last(rate((o) => o.sip_requests)).toFixed(1)} /s`} note={`${count(overview.auth_failures ?? 0)} wrong passwords · ${count(overview.bans)} banned`}>
          <Chart label="SIP requests a second" points={rate((o) => o.sip_requests)} span={SPAN} format={(n) => n.toFixed(n < 10 ? 1 : 0)} />
        </Tile>
      </div>
      <div class="columns">
        <Card title="Running calls" actions={<a href="#/calls">All calls</a>} flush>
          <NewestCalls calls={calls} now={now} />
        </Card>
        <div class="stack">
          <Card title="Trunks" actions={<a href="#/trunks">All trunks</a>} flush>
            {!trunks ? <Loading /> : trunks.items.length === 0 ? <Empty icon="trunks" title="No trunk is configured" /> : (
              <ul class="lines">
                {trunks.items.slice(0, 8).map((trunk) => (
                  <li key={trunk.name}>
                    <Dot tone={stateTone(trunk.state)} />
                    <span class="grow">{trunk.name}</span>
                    <small>{plural(trunk.calls, "call")}</small>
                    <Badge tone={stateTone(trunk.state)}>{trunk.state}</Badge>
                  </li>
                ))}
              </ul>
            )}
          </Card>
          <Card title="How calls ended" flush>
            <Causes causes={overview.causes ?? {}} />
          </Card>
        </div>
      </div>
    </Page>
  );
}

function Tile({ title, value, note, href, children }: { title: string; value: string; note: string; href?: string; children: ComponentChildren }) {
  return (
    <section class="tile">
      <h2>{href ? <a href={href}>{title}</a> : title}</h2>
      <p class="tile-value">{value}</p>
      <p class="tile-note">{note}</p>
      {children}
    </section>
  );
}

function NewestCalls({ calls, now }: { calls: List<Call> | undefined; now: number }) {
  if (!calls) return <Loading />;
  if (calls.items.length === 0) return <Empty icon="calls" title="Nobody is in a call">It is quiet.</Empty>;
  const newest = [...calls.items].sort((a, b) => b.started_at - a.started_at).slice(0, 10);
  return (
    <ul class="lines">
      {newest.map((call) => (
        <li key={call.gcid}>
          <a class="line" href={`#/calls/${encodeURIComponent(call.gcid)}`}>
            <Dot tone={call.state === "active" ? "good" : "fair"} pulse={call.state === "setup"} />
            <span class="grow clip">{call.from} → {call.to}</span>
            <time>{lasting(now - (call.answered_at ?? call.started_at))}</time>
            <Score mos={worst(call)} silent={call.legs.some((leg) => leg.silent)} />
          </a>
        </li>
      ))}
    </ul>
  );
}

function Causes({ causes }: { causes: Readonly<Record<string, number>> }) {
  const all = Object.entries(causes).sort((a, b) => b[1] - a[1]).slice(0, 6);
  const most = Math.max(...all.map(([, n]) => n), 1);
  if (all.length === 0) return <Empty icon="records" title="No call has ended yet" />;
  return (
    <ul class="bars">
      {all.map(([cause, n]) => (
        <li key={cause}>
          <span>{phrase(cause)}</span>
          <span class="bar"><i style={{ width: `${(n / most) * 100}%` }} /></span>
          <b>{count(n)}</b>
        </li>
      ))}
    </ul>
  );
}

/** The lower score of both sides. */
export function worst(call: Call): number | null {
  const scores = (["caller", "called"] as const).flatMap((side) => legOf(call, side)?.quality?.mos ?? []);
  return scores.length === 0 ? null : Math.min(...scores);
}

function last(points: readonly Point[]): number {
  return points.at(-1)?.value ?? 0;
}
