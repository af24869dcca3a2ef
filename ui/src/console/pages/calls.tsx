// Calls that are being set up or running.
import { useState } from "preact/hooks";
import type { Call, List } from "../calls";
import { legOf } from "../calls";
import { useAction, useApi, useNow, usePoll } from "../hooks";
import { Badge, Button, Confirm, Dot, ErrorNote, Page, Score } from "../parts";
import { Table } from "../table";
import { lasting, plural } from "../words";

export function Calls() {
  const api = useApi();
  const calls = usePoll<List<Call>>("/calls", 1500);
  const now = useNow();
  const action = useAction();
  const [ending, setEnding] = useState<Call>();
  const [only, setOnly] = useState("all");
  const rows = calls.data?.items.filter((call) => only === "all" || call.state === only || (only === "bad" && isBad(call)));
  const record = (call: Call) => action.run(async () => {
    await api.send("POST", `/calls/${encodeURIComponent(call.gcid)}/recording`, { action: call.recording ? "stop" : "start" });
    await calls.reload();
  });
  return (
    <Page title="Calls" about={calls.data ? `${plural(calls.data.items.length, "call")} now` : undefined}>
      <ErrorNote error={action.error} />
      <Table
        name="calls"
        rows={rows}
        error={calls.error}
        keyOf={(call) => call.gcid}
        hrefOf={(call) => `#/calls/${encodeURIComponent(call.gcid)}`}
        sort={["Duration", "up"]}
        empty={{ icon: "calls", title: only === "all" ? "Nobody is in a call" : "No such call now", text: "Calls show here as soon as somebody dials." }}
        tools={
          <div class="chips" role="group" aria-label="Show">
            {[["all", "All"], ["setup", "Ringing"], ["active", "Talking"], ["bad", "In trouble"]].map(([key, text]) => (
              <button key={key} type="button" aria-pressed={only === key} onClick={() => setOnly(key!)}>{text}</button>
            ))}
          </div>
        }
        columns={[
          { name: "From", value: (call) => `${call.from} ${call.from_user ?? ""}`, cell: (call) => <Party address={call.from} user={call.from_user} /> },
          { name: "To", value: (call) => call.to, cell: (call) => <Party address={call.to} user={legOf(call, "called")?.user ?? null} /> },
          { name: "State", value: (call) => call.state, cell: (call) => <CallState call={call} /> },
          { name: "Duration", align: "right", value: (call) => now - (call.answered_at ?? call.started_at), cell: (call) => <time>{lasting(now - (call.answered_at ?? call.started_at))}</time> },
          { name: "Caller", align: "right", value: (call) => legOf(call, "caller")?.quality?.mos, cell: (call) => <Side call={call} side="caller" /> },
          { name: "Called", align: "right", value: (call) => legOf(call, "called")?.quality?.mos, cell: (call) => <Side call={call} side="called" /> },
          { name: "Trunk", minor: true, value: (call) => call.trunk },
        ]}
        actions={(call) => (
          <>
            {api.may("record") && call.state === "active" && (
              <Button icon={call.recording ? "stop" : "record"} label={call.recording ? "Stop recording" : "Record"} tone="quiet" iconOnly disabled={action.busy} onClick={() => void record(call)} />
            )}
            {api.may("control") && <Button icon="end" label="Hang up" tone="quiet" iconOnly onClick={() => setEnding(call)} />}
          </>
        )}
      />
      <Confirm title="Hang up?" verb="Hang up" open={ending !== undefined} onClose={() => setEnding(undefined)} act={async () => {
        await api.send("DELETE", `/calls/${encodeURIComponent(ending!.gcid)}`);
        await calls.reload();
      }}>
        The call from <b>{ending?.from}</b> to <b>{ending?.to}</b> ends for both sides.
      </Confirm>
    </Page>
  );
}

export function isBad(call: Call): boolean {
  return call.legs.some((leg) => leg.silent || (leg.quality?.mos ?? 5) < 3.1);
}

export function CallState({ call }: { call: Call }) {
  const words = { setup: "ringing", active: "talking", ending: "ending" } as const;
  const tone = call.state === "active" ? "good" : call.state === "setup" ? "fair" : "unknown";
  return (
    <span class="inline">
      <Dot tone={tone} pulse={call.state === "setup"} /> {words[call.state]}
      {call.parked && <Badge tone="info">parked {call.parked}</Badge>}
      {call.legs.some((leg) => leg.on_hold) && <Badge tone="info">held</Badge>}
      {call.recording && <Badge tone="poor" title="It is recorded">rec{call.recording.state === "running" ? "" : ` ${call.recording.state}`}</Badge>}
      {call.stream && <Badge tone="info" title={call.stream.url}>stream</Badge>}
    </span>
  );
}

export function Party({ address, user }: { address: string; user: string | null }) {
  return (
    <span class="party">
      <b class="clip">{address || "unknown"}</b>
      {user && user !== address && <small class="clip">{user}</small>}
    </span>
  );
}

function Side({ call, side }: { call: Call; side: "caller" | "called" }) {
  const leg = legOf(call, side);
  return <Score mos={leg?.quality?.mos} silent={leg?.silent ?? false} />;
}
