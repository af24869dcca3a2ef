// People who sign in with telephones and browsers.
import { useEffect, useState } from "preact/hooks";
import type { List } from "../calls";
import { useAction, useApi, usePoll } from "../hooks";
import { At, Badge, Button, Confirm, Dialog, ErrorNote, Field, Page, Secret } from "../parts";
import { Table } from "../table";
import { count } from "../words";
import type { Binding } from "./registrations";

interface Forwarding {
  readonly always: string | null;
  readonly busy: string | null;
  readonly no_answer: string | null;
  readonly no_answer_after: number | null;
  readonly away: string | null;
}

interface User {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly created: number;
  readonly forwarding: Forwarding;
  readonly may_sign_in: boolean;
  readonly password?: string;
}

type Open = { readonly what: "add" } | { readonly what: "edit" | "forward" | "remove"; readonly user: User } | undefined;

export function Users() {
  const api = useApi();
  const users = usePoll<List<User>>("/users", 5000);
  const bindings = usePoll<List<Binding>>("/bindings", 5000).data?.items ?? [];
  const [open, setOpen] = useState<Open>();
  const devices = new Map<string, number>();
  for (const { user } of bindings) devices.set(user, (devices.get(user) ?? 0) + 1);
  const mayChange = api.may("users");
  const close = () => setOpen(undefined);
  const user = open && "user" in open ? open.user : undefined;
  return (
    <Page title="Users" about="People who call and are called here." actions={mayChange && <Button icon="plus" label="Add a user" tone="primary" onClick={() => setOpen({ what: "add" })} />}>
      <Table
        name="users"
        rows={users.data?.items}
        error={users.error}
        keyOf={(it) => it.name}
        sort={["Name", "up"]}
        empty={{ icon: "users", title: "There are no users", text: "Add one, and sign in with a telephone or the web phone." }}
        columns={[
          { name: "Name", value: (it) => it.name, cell: (it) => <span class="inline"><b>{it.name}</b>{!it.may_sign_in && <Badge tone="fair" title="The password was kept for another realm: give a new one">needs a password</Badge>}</span> },
          { name: "Numbers", value: (it) => it.aliases.join(" "), cell: (it) => it.aliases.length > 0 ? it.aliases.join(", ") : <span class="soft">–</span> },
          { name: "Devices", align: "right", value: (it) => devices.get(it.name) ?? 0, cell: (it) => devices.has(it.name) ? <a href={`#/registrations?user=${encodeURIComponent(it.name)}`}>{count(devices.get(it.name)!)}</a> : <span class="soft">none</span> },
          { name: "Calls go to", minor: true, value: (it) => forwarded(it.forwarding), cell: (it) => forwarded(it.forwarding) || <span class="soft">its devices</span> },
          { name: "Added", minor: true, value: (it) => it.created, cell: (it) => <At ms={it.created * 1000} /> },
        ]}
        actions={(it) => (
          <>
            <a class="button quiet icon-only" href={`#/records?party=${encodeURIComponent(it.name)}`} title={`Calls of ${it.name}`} aria-label={`Calls of ${it.name}`}>Calls</a>
            {mayChange && <Button label="Forward" tone="quiet" onClick={() => setOpen({ what: "forward", user: it })} />}
            {mayChange && <Button icon="edit" label={`Change ${it.name}`} tone="quiet" iconOnly onClick={() => setOpen({ what: "edit", user: it })} />}
            {mayChange && <Button icon="remove" label={`Remove ${it.name}`} tone="quiet" iconOnly onClick={() => setOpen({ what: "remove", user: it })} />}
          </>
        )}
      />
      <Editor key={`${open?.what} ${user?.name}`} user={open?.what === "edit" ? user : undefined} open={open?.what === "add" || open?.what === "edit"} onClose={close} onDone={users.reload} />
      <Forward key={`forward ${user?.name}`} user={user} open={open?.what === "forward"} onClose={close} onDone={users.reload} />
      <Confirm title="Remove the user?" verb="Remove" open={open?.what === "remove"} onClose={close} act={async () => {
        await api.send("DELETE", `/users/${encodeURIComponent(user!.name)}`);
        await users.reload();
      }}>
        <b>{user?.name}</b> can no longer sign in, and its devices are signed out. Call records stay.
      </Confirm>
    </Page>
  );
}

function forwarded(to: Forwarding): string {
  const words = [["always", to.always], ["busy", to.busy], ["no answer", to.no_answer], ["away", to.away]] as const;
  return words.flatMap(([when, place]) => (place ? [`${when}: ${place}`] : [])).join(", ");
}

function Editor({ user, open, onClose, onDone }: { user: User | undefined; open: boolean; onClose(): void; onDone(): Promise<void> }) {
  const api = useApi();
  const action = useAction();
  const [name, setName] = useState("");
  const [aliases, setAliases] = useState(user?.aliases.join(" ") ?? "");
  const [password, setPassword] = useState("");
  const [renew, setRenew] = useState(false);
  const [made, setMade] = useState<User>();
  const numbers = aliases.split(/[\s,]+/).filter(Boolean);
  const submit = async (event: Event) => {
    event.preventDefault();
    await action.run(async () => {
      const secret = password ? { password } : {};
      const answer = user
        ? await api.send<User>("PUT", `/users/${encodeURIComponent(user.name)}`, { aliases: numbers, ...(renew ? { password: password || null } : {}) })
        : await api.send<User>("POST", "/users", { name: name.trim(), aliases: numbers, ...secret });
      await onDone();
      if (answer.password) setMade(answer);
      else onClose();
    });
  };
  if (made) {
    return (
      <Dialog title={`Password of ${made.name}`} open={open} onClose={onClose}>
        <p class="dialog-text">It is shown now and never again.</p>
        <Secret value={made.password!} />
        <div class="dialog-foot"><Button label="Done" tone="primary" onClick={onClose} /></div>
      </Dialog>
    );
  }
  return (
    <Dialog title={user ? `Change ${user.name}` : "Add a user"} open={open} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        {!user && <Field label="Name" value={name} onInput={setName} placeholder="alice" hint="Letters, digits and . _ - +" required autoFocus />}
        <Field label="Numbers and other names" value={aliases} onInput={setAliases} placeholder="1001 +49301234" hint="With blanks between them." />
        {user && (
          <label class="check">
            <input type="checkbox" checked={renew} onChange={(event) => setRenew(event.currentTarget.checked)} /> Give a new password
          </label>
        )}
        {(!user || renew) && <Field label="Password" value={password} onInput={setPassword} type="password" autoComplete="new-password" hint="Leave it empty to have one drawn." />}
        <ErrorNote error={action.error} />
        <div class="dialog-foot">
          <Button label="Cancel" onClick={onClose} />
          <Button label={user ? "Save" : "Add"} tone="primary" type="submit" busy={action.busy} />
        </div>
      </form>
    </Dialog>
  );
}

function Forward({ user, open, onClose, onDone }: { user: User | undefined; open: boolean; onClose(): void; onDone(): Promise<void> }) {
  const api = useApi();
  const action = useAction();
  const [to, setTo] = useState({ always: "", busy: "", no_answer: "", no_answer_after: "", away: "" });
  useEffect(() => {
    const now = user?.forwarding;
    const text = (value: string | number | null | undefined) => (value == null ? "" : String(value));
    setTo({ always: text(now?.always), busy: text(now?.busy), no_answer: text(now?.no_answer), no_answer_after: text(now?.no_answer_after), away: text(now?.away) });
  }, [user, open]);
  const submit = async (event: Event) => {
    event.preventDefault();
    const or = (value: string) => value.trim() || null;
    const done = await action.run(async () => {
      await api.send("PUT", `/users/${encodeURIComponent(user!.name)}/forwarding`, {
        always: or(to.always), busy: or(to.busy), no_answer: or(to.no_answer), away: or(to.away), no_answer_after: to.no_answer_after ? Number(to.no_answer_after) : null,
      });
      await onDone();
    });
    if (done) onClose();
  };
  const field = (key: keyof typeof to, label: string, hint?: string) => <Field label={label} value={to[key]} onInput={(value) => setTo({ ...to, [key]: value })} hint={hint} type={key === "no_answer_after" ? "number" : "text"} />;
  return (
    <Dialog title={`Where calls to ${user?.name ?? ""} go`} open={open} onClose={onClose}>
      <form class="form" onSubmit={submit}>
        {field("always", "All calls", "Nothing rings. A name or number as the user would dial it.")}
        {field("busy", "When busy or declined")}
        {field("no_answer", "When nobody answers")}
        {field("no_answer_after", "Seconds of ringing before", "5 to 120, 20 when empty.")}
        {field("away", "When no device is signed in")}
        <ErrorNote error={action.error} />
        <div class="dialog-foot">
          <Button label="Cancel" onClick={onClose} />
          <Button label="Save" tone="primary" type="submit" busy={action.busy} />
        </div>
      </form>
    </Dialog>
  );
}
