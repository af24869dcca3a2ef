// Calls that were recorded.
import { useState } from "preact/hooks";
import type { List } from "../calls";
import { useApi, usePoll } from "../hooks";
import { At, Badge, Button, Confirm, Page } from "../parts";
import { Table } from "../table";
import { bytes, lasting, phrase } from "../words";

interface Recording {
  readonly gcid: string;
  readonly name: string;
  readonly started_at: number;
  readonly duration_ms: number;
  readonly bytes: number;
  readonly reason: string;
}

export function Recordings() {
  const api = useApi();
  const recordings = usePoll<List<Recording>>("/recordings", 5000);
  const [playing, setPlaying] = useState<string>();
  const [removing, setRemoving] = useState<Recording>();
  const mayListen = api.may("listen");
  return (
    <Page title="Recordings" about="The newest 1000 that are finished. The caller is left, the called side right.">
      <Table
        name="recordings"
        rows={recordings.data?.items}
        error={recordings.error}
        keyOf={(it) => it.name}
        sort={["Began", "down"]}
        empty={{ icon: "recordings", title: "Nothing is recorded", text: "A rule of section [recording] or an operator begins a recording." }}
        columns={[
          { name: "Began", value: (it) => it.started_at, cell: (it) => <At ms={it.started_at} /> },
          { name: "Call", value: (it) => it.gcid, cell: (it) => <a href={`#/calls/${encodeURIComponent(it.gcid)}`}><code class="clip">{it.gcid}</code></a> },
          { name: "Length", align: "right", value: (it) => it.duration_ms, cell: (it) => lasting(it.duration_ms) },
          { name: "Size", align: "right", minor: true, value: (it) => it.bytes, cell: (it) => bytes(it.bytes) },
          { name: "Ended", minor: true, value: (it) => phrase(it.reason), cell: (it) => <Badge tone={it.reason === "call_over" || it.reason === "stopped" ? "unknown" : "fair"}>{phrase(it.reason)}</Badge> },
          ...(mayListen ? [{ name: "Listen", sortable: false as const, value: () => null, cell: (it: Recording) => playing === it.name ? <Player name={it.name} autoplay bare /> : <Button icon="play" label="Play" onClick={() => setPlaying(it.name)} /> }] : []),
        ]}
        actions={(it) => (
          <>
            {mayListen && <a class="button quiet icon-only" download href={api.url(`/recordings/${it.name}`)} title="Download" aria-label={`Download ${it.name}`}>↓</a>}
            {api.may("erase") && <Button icon="remove" label="Remove" tone="quiet" iconOnly onClick={() => setRemoving(it)} />}
          </>
        )}
      />
      <Confirm title="Remove the recording?" verb="Remove" open={removing !== undefined} onClose={() => setRemoving(undefined)} act={async () => {
        await api.send("DELETE", `/recordings/${removing!.name}`);
        await recordings.reload();
      }}>
        <code>{removing?.name}</code> is gone for good.
      </Confirm>
    </Page>
  );
}

export function Player({ name, autoplay, bare }: { name: string; autoplay?: boolean; bare?: boolean }) {
  const api = useApi();
  if (!api.may("listen")) return <p class="soft">Your role does not hear recordings.</p>;
  return (
    <div class="player">
      {!bare && <code class="clip">{name}</code>}
      <audio controls preload="metadata" autoplay={autoplay} src={api.url(`/recordings/${name}`)} aria-label={`Recording ${name}`} />
    </div>
  );
}
