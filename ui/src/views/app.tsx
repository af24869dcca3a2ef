// The page: the way in, then a panel with everything and a stage with the calls.
import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { Phone } from "../phone";
import { Calls, Elsewhere, talked } from "./calls";
import { Dialer } from "./dialer";
import { Icon, Mark, type IconName } from "./icons";
import { Empty, Face } from "./parts";
import { Contacts, Recents } from "./people";
import { Check, Settings } from "./setup";
import { Help, useShortcuts } from "./shortcuts";
import { SignIn } from "./sign_in";

const TABS = [
  ["dial", "Dial", "keypad"],
  ["recents", "Recents", "recents"],
  ["contacts", "Contacts", "contacts"],
  ["check", "Check", "check"],
  ["settings", "Settings", "settings"],
] as const satisfies readonly (readonly [string, string, IconName])[];

export type Tab = (typeof TABS)[number][0];

export function App({ phone }: { phone: Phone }) {
  const [, redraw] = useReducer((turn: number) => turn + 1, 0);
  useEffect(() => {
    // What changed before the first drawing was heard by nobody.
    redraw(undefined);
    return phone.subscribe(() => redraw(undefined));
  }, [phone]);
  const { incoming } = phone;
  document.title = incoming ? `${phone.name(incoming)} is calling` : phone.focus ? `${talked(phone.focus) || "…"} ${phone.name(phone.focus)}` : "Crosspoint phone";
  return (
    <>
      <p class="unseen" role="status" aria-live="assertive">{phone.announcement}</p>
      {phone.stage === "signed-in" && <SignedIn phone={phone} />}
      {phone.stage === "restoring" && <main class="gate"><p class="hint" role="status">{phone.notice || "One moment…"}</p></main>}
      {(phone.stage === "signed-out" || phone.stage === "signing-in") && <SignIn phone={phone} />}
      <datalist id="numbers">
        {phone.book.contacts.map((contact) => (
          <option key={contact.number} value={contact.number}>{contact.name}</option>
        ))}
      </datalist>
    </>
  );
}

function SignedIn({ phone }: { phone: Phone }) {
  const [tab, setTab] = useState<Tab>("dial");
  const help = useRef<HTMLDialogElement>(null);
  useShortcuts(phone, setTab, () => help.current?.showModal());
  const busy = phone.calls.length > 0;
  const quiet = !busy && phone.elsewhere.length === 0;
  return (
    <div class={busy ? "phone busy" : "phone"}>
      <Header phone={phone} onHelp={() => help.current?.showModal()} />
      <main class="stage" aria-label="Calls">
        <Calls phone={phone} />
        <Elsewhere phone={phone} />
        {quiet && <Empty icon="call">No call now. Dial a number, or wait for one to ring.</Empty>}
      </main>
      <section class="panel" aria-label={TABS.find(([name]) => name === tab)?.[1]}>
        {tab === "dial" && <Dialer phone={phone} />}
        {tab === "recents" && <Recents phone={phone} />}
        {tab === "contacts" && <Contacts phone={phone} />}
        {tab === "check" && <Check phone={phone} />}
        {tab === "settings" && <Settings phone={phone} />}
      </section>
      <nav class="tabs" aria-label="Views">
        {TABS.map(([name, label, icon]) => (
          <button key={name} type="button" aria-current={tab === name ? "page" : undefined} onClick={() => setTab(name)}>
            <Icon name={icon} />
            <span>{label}</span>
          </button>
        ))}
      </nav>
      {phone.notice !== "" && (
        <div class="toast" role="alert">
          <p>{phone.notice}</p>
          <button type="button" class="plain" aria-label="Dismiss" onClick={() => phone.tell("")}><Icon name="failed" /></button>
        </div>
      )}
      <Help dialog={help} />
    </div>
  );
}

function Header({ phone, onHelp }: { phone: Phone; onHelp(): void }) {
  const account = phone.account;
  const user = account?.identifier.replace(/^sip:/, "").split("@")[0] ?? "";
  const state = phone.offline ? "connecting" : (account?.state ?? "connecting");
  const words = { connected: "Ready", connecting: "Connecting…", disconnected: "Not connected", failed: "Not connected" };
  return (
    <header>
      <Mark />
      <h1>Crosspoint</h1>
      <p class={`presence ${state}`} role="status">
        <span class="dot" aria-hidden="true" />
        {phone.offline ? "Reconnecting…" : words[state]}
      </p>
      <span class="me" title={account?.identifier}>
        <Face name={user} /> <span>{user}</span>
      </span>
      <button type="button" class="plain" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={onHelp}><Icon name="help" /></button>
    </header>
  );
}
