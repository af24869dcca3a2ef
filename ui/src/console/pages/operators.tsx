// Who may sign in here.
import { useState } from "preact/hooks";
import type { Role } from "../api";
import type { List } from "../calls";
import { useAction, useApi, usePoll } from "../hooks";
import { At, Badge, Button, Confirm, Dialog, ErrorNote, Field, Page, Select } from "../parts";
import { Table } from "../table";

interface Operator {
  readonly name: string;
  readonly role: Role;
  readonly created: number;
}

const ROLES = [["viewer", "Viewer: sees everything but audit, sound and configuration"], ["operator", "Operator: handles calls, records, bans"], ["admin", "Admin: everything"]] as const;
const TONES = { viewer: "unknown", operator: "info", admin: "good" } as const;

export function Operators() {
  const api = useApi();
  const operators = usePoll<List<Operator>>("/operators", 5000);
  const [editing, setEditing] = useState<Operator | "new">();
  const [removing, setRemoving] = useState<Operator>();
  return (
    <Page title="Operators" about="Who may sign in at this console." actions={<Button icon="plus" label="Add an operator" tone="primary" onClick={() => setEditing("new")} />}>
      <Table
        name="operators"
        rows={operators.data?.items}
        error={operators.error}
        keyOf={(it) => it.name}
        sort={["Name", "up"]}
        empty={{ icon: "operators", title: "There are no operators", text: "You came with an identity of somewhere else." }}
        columns={[
          { name: "Name", value: (it) => it.name, cell: (it) => <span class="inline"><b>{it.name}</b>{it.name === api.account?.name && <Badge tone="info">you</Badge>}</span> },
          { name: "Role", value: (it) => it.role, cell: (it) => <Badge tone={TONES[it.role] ?? "unknown"}>{it.role}</Badge> },
          { name: "Added", value: (it) => it.created, cell: (it) => <At ms={it.created * 1000} /> },
        ]}
        actions={(it) => (
          <>
            <Button icon="edit" label={`Change ${it.name}`} tone="quiet" iconOnly onClick={() => setEditing(it)} />
            <Button icon="remove" label={`Remove ${it.name}`} tone="quiet" iconOnly onClick={() => setRemoving(it)} />
          </>
        )}
      />
      <Editor key={typeof editing === "object" ? editing.name : editing} operator={typeof editing === "object" ? editing : undefined} open={editing !== undefined} onClose={() => setEditing(undefined)} onDone={operators.reload} />
      <Confirm title="Remove the operator?" verb="Remove" open={removing !== undefined} onClose={() => setRemoving(undefined)} act={async () => {
        await api.send("DELETE", `/operators/${encodeURIComponent(removing!.name)}`);
        await operators.reload();
      }}>
        <b>{removing?.name}</b> is signed out everywhere. What it did stays in the audit.
      </Confirm>
    </Page>
  );
}

function Editor({ operator, open, onClose, onDone }: { operator: Operator | undefined; open: boolean; onClose(): void; onDone(): Promise<void> }) {
  const api = useApi();
  const action = useAction();
  const [name, setName] = useState("");
  const [role, setRole] = useState<string>(operator?.role ?? "viewer");
  const [password, setPassword] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    const done = await action.run(async () => {
      if (operator) await api.send("PUT", `/operators/${encodeURIComponent(operator.name)}`, { role, ...(password ? { password } : {}) });
      else await api.send("POST", "/operators", { name: name.trim(), role, password });
      await onDone();
    });
    if (done) onClose();
  };
  return (
    <Dialog title={operator ? `Change ${operator.name}` : "Add an operator"} open={open} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        {!operator && <Field label="Name" value={name} onInput={setName} required autoFocus />}
        <Select label="Role" value={role} options={ROLES} onChange={setRole} />
        <Field label={operator ? "New password" : "Password"} value={password} onInput={setPassword} type="password" autoComplete="new-password" required={!operator} minLength={10} hint={operator ? "Leave it empty to keep the old one. With a new one the operator is signed out." : "At least 10 characters."} />
        <ErrorNote error={action.error} />
        <div class="dialog-foot">
          <Button label="Cancel" onClick={onClose} />
          <Button label={operator ? "Save" : "Add"} tone="primary" type="submit" busy={action.busy} />
        </div>
      </form>
    </Dialog>
  );
}
