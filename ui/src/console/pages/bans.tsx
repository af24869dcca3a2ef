// Addresses that are not listened to.
import { useState } from "preact/hooks";
import type { List } from "../calls";
import { useAction, useApi, useNow, usePoll } from "../hooks";
import { At, Badge, Button, Confirm, Dialog, ErrorNote, Field, Page, Select } from "../parts";
import { Table } from "../table";
import { count, lasting } from "../words";

interface Ban {
  readonly address: string;
  readonly since: number;
  readonly until: number;
  readonly reason: string;
  readonly dropped: number;
}

const REASONS: Record<string, string> = { password: "wrong passwords", scanner: "a scanner", malformed: "broken messages", unproved: "false claims", operator: "by an operator" };
const TIMES = [["3600", "An hour"], ["86400", "A day"], ["604800", "A week"], ["2592000", "A month"], ["31536000", "A year"]] as const;

export function Bans() {
  const api = useApi();
  const bans = usePoll<List<Ban>>("/bans", 3000);
  const now = useNow();
  const [adding, setAdding] = useState(false);
  const [lifting, setLifting] = useState<Ban>();
  return (
    <Page
      title="Bans"
      about="Nothing from these addresses is listened to."
      actions={api.may("ban") && <Button icon="plus" label="Ban an address" tone="primary" onClick={() => setAdding(true)} />}
    >
      <Table
        name="bans"
        rows={bans.data?.items}
        error={bans.error}
        keyOf={(ban) => ban.address}
        sort={["Since", "down"]}
        empty={{ icon: "bans", title: "Nobody is banned", text: "Whoever guesses passwords or scans for weak telephones shows here." }}
        columns={[
          { name: "Address", value: (ban) => ban.address, cell: (ban) => <code>{ban.address}</code> },
          { name: "Because of", value: (ban) => REASONS[ban.reason] ?? ban.reason, cell: (ban) => <Badge tone={ban.reason === "operator" ? "info" : "fair"}>{REASONS[ban.reason] ?? ban.reason}</Badge> },
          { name: "Since", value: (ban) => ban.since, cell: (ban) => <At ms={ban.since} /> },
          { name: "Left", align: "right", value: (ban) => ban.until, cell: (ban) => lasting(ban.until - now) },
          { name: "Passed over", align: "right", value: (ban) => ban.dropped, cell: (ban) => count(ban.dropped) },
        ]}
        actions={api.may("ban") ? (ban) => <Button label="Lift" onClick={() => setLifting(ban)} /> : undefined}
      />
      <AddBan open={adding} onClose={() => setAdding(false)} onDone={bans.reload} />
      <Confirm title="Lift the ban?" verb="Lift it" open={lifting !== undefined} onClose={() => setLifting(undefined)} act={async () => {
        await api.send("DELETE", `/bans/${encodeURIComponent(lifting!.address)}`);
        await bans.reload();
      }}>
        <code>{lifting?.address}</code> is listened to again at once.
      </Confirm>
    </Page>
  );
}

function AddBan({ open, onClose, onDone }: { open: boolean; onClose(): void; onDone(): Promise<void> }) {
  const api = useApi();
  const action = useAction();
  const [address, setAddress] = useState("");
  const [seconds, setSeconds] = useState("86400");
  const submit = async (event: Event) => {
    event.preventDefault();
    const done = await action.run(async () => {
      await api.send("POST", "/bans", { address: address.trim(), seconds: Number(seconds) });
      await onDone();
    });
    if (!done) return;
    setAddress("");
    onClose();
  };
  return (
    <Dialog title="Ban an address" open={open} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        <Field label="Address" value={address} onInput={setAddress} placeholder="192.0.2.1 or 2001:db8::1" hint="Of IPv6 the whole /64 is meant. Trunks and exempt networks are never banned." required autoFocus />
        <Select label="For" value={seconds} options={TIMES} onChange={setSeconds} />
        <ErrorNote error={action.error} />
        <div class="dialog-foot">
          <Button label="Cancel" onClick={onClose} />
          <Button label="Ban" tone="danger" type="submit" busy={action.busy} />
        </div>
      </form>
    </Dialog>
  );
}
