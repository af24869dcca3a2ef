// Devices that are signed in, and registrations that a PBX takes through us.
import type { List } from "../calls";
import { usePoll } from "../hooks";
import { Badge, Page } from "../parts";
import { Table } from "../table";
import { count, lasting, phrase } from "../words";

export interface Binding {
  readonly user: string;
  readonly contact: string;
  readonly transport: string;
  readonly remote: string;
  readonly expires_in_s: number;
  readonly user_agent: string | null;
}

interface Forwarded {
  readonly user: string;
  readonly trunk: string;
  readonly contact: string;
  readonly path: string;
  readonly expires_in_s: number;
  readonly announced: { readonly state: string; readonly why: string | null } | null;
}

export function Registrations({ user }: { user: string | null }) {
  const path = user ? `/bindings?user=${encodeURIComponent(user)}` : "/bindings";
  const bindings = usePoll<List<Binding>>(path, 3000);
  const forwarded = usePoll<List<Forwarded> & { webrtc_sessions: number }>("/registrations", 5000);
  return (
    <Page title="Registrations" about={user ? <>Devices of <b>{user}</b>. <a href="#/registrations">Show everybody’s</a></> : `Devices that are signed in${forwarded.data ? ` · ${count(forwarded.data.webrtc_sessions)} browsers and apps in all` : ""}`}>
      <Table
        name="devices"
        rows={bindings.data?.items}
        total={bindings.data?.total}
        error={bindings.error}
        keyOf={(it) => `${it.user} ${it.contact}`}
        sort={["User", "up"]}
        empty={{ icon: "registrations", title: "No device is signed in", text: "Telephones and browsers show here when they register." }}
        columns={[
          { name: "User", value: (it) => it.user, cell: (it) => <b>{it.user}</b> },
          { name: "Device", value: (it) => it.user_agent, cell: (it) => it.user_agent ?? <span class="soft">unknown</span> },
          { name: "Over", value: (it) => it.transport, cell: (it) => <Badge tone={it.transport.startsWith("W") ? "info" : "unknown"}>{it.transport}</Badge> },
          { name: "From", value: (it) => it.remote, cell: (it) => <code>{it.remote}</code> },
          { name: "Contact", minor: true, value: (it) => it.contact, cell: (it) => <code class="clip wide" title={it.contact}>{it.contact}</code> },
          { name: "Good for", align: "right", value: (it) => it.expires_in_s, cell: (it) => lasting(it.expires_in_s * 1000) },
        ]}
      />
      {(forwarded.data?.items.length ?? 0) > 0 && (
        <>
          <h2 class="section">At a PBX, through us</h2>
          <Table
            name="forwarded registrations"
            rows={forwarded.data?.items}
            error={forwarded.error}
            keyOf={(it) => `${it.user} ${it.trunk} ${it.contact}`}
            empty={{ icon: "trunks", title: "None" }}
            columns={[
              { name: "User", value: (it) => it.user, cell: (it) => <b>{it.user}</b> },
              { name: "Trunk", value: (it) => it.trunk },
              { name: "Contact there", value: (it) => it.contact, cell: (it) => <code class="clip wide">{it.contact}</code> },
              { name: "Second server", value: (it) => it.announced?.state, cell: (it) => it.announced ? <Badge tone={it.announced.state === "registered" ? "good" : "fair"} title={it.announced.why ?? undefined}>{phrase(it.announced.state)}</Badge> : <span class="soft">–</span> },
              { name: "Good for", align: "right", value: (it) => it.expires_in_s, cell: (it) => lasting(it.expires_in_s * 1000) },
            ]}
          />
        </>
      )}
    </Page>
  );
}
