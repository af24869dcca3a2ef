// Who changed what.
import { useEffect, useState } from "preact/hooks";
import type { List } from "../calls";
import { useAction, useApi } from "../hooks";
import { At, Badge, Button, Page } from "../parts";
import { Table } from "../table";

interface Entry {
  readonly number: number;
  readonly at: number;
  readonly who: string;
  readonly role: string;
  readonly by: string;
  readonly from: string | null;
  readonly action: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>> | null;
  readonly outcome: string;
}

const KINDS = [["", "Everything"], ["call", "Calls"], ["recording", "Recordings"], ["ban", "Bans"], ["user", "Users"], ["operator", "Operators"], ["session", "Signing in"], ["configuration", "Configuration"], ["drain", "Draining"]] as const;
const AT_ONCE = 200;

export function Audit() {
  const api = useApi();
  const action = useAction();
  const [kind, setKind] = useState("");
  const [entries, setEntries] = useState<readonly Entry[]>();
  const [isAll, setAll] = useState(false);
  const fetchPart = async (before?: number) => {
    const asked = new URLSearchParams({ limit: String(AT_ONCE) });
    if (kind) asked.set("action", kind);
    if (before !== undefined) asked.set("before", String(before));
    return (await api.get<List<Entry>>(`/audit?${asked}`)).items;
  };
  useEffect(() => {
    let over = false;
    const turn = async () => {
      if (document.hidden) return;
      await action.run(async () => {
        const newest = await fetchPart();
        if (over) return;
        setEntries((known = []) => {
          const oldest = newest.at(-1)?.number ?? 0;
          return [...newest, ...known.filter((entry) => entry.number < oldest)];
        });
        if (newest.length < AT_ONCE) setAll(true);
      });
    };
    setEntries(undefined);
    setAll(false);
    void turn();
    const timer = setInterval(turn, 4000);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [kind]);
  const older = () => action.run(async () => {
    const more = await fetchPart(entries?.at(-1)?.number);
    setEntries([...(entries ?? []), ...more]);
    if (more.length < AT_ONCE) setAll(true);
  });
  return (
    <Page title="Audit" about="Everything that operators, programs and commands changed.">
      <Table
        name="changes"
        rows={entries}
        error={action.error}
        keyOf={(entry) => String(entry.number)}
        empty={{ icon: "audit", title: "Nothing was changed", text: "What anybody changes shows here, with who did it and from where." }}
        tools={
          <select aria-label="Kind" value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
            {KINDS.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
          </select>
        }
        columns={[
          { name: "When", value: (entry) => entry.number, cell: (entry) => <At ms={entry.at} /> },
          { name: "Who", value: (entry) => `${entry.who} ${entry.role}`, cell: (entry) => <span class="party"><b class="clip">{entry.who}</b><small>{entry.role}</small></span> },
          { name: "What", value: (entry) => entry.action, cell: (entry) => <code>{entry.action}</code> },
          { name: "To whom", value: (entry) => entry.target, cell: (entry) => <span class="clip wide" title={entry.target}>{entry.target || <span class="soft">–</span>}</span> },
          { name: "Detail", minor: true, value: (entry) => detail(entry), cell: (entry) => <small class="clip wide" title={detail(entry)}>{detail(entry)}</small> },
          { name: "Outcome", value: (entry) => entry.outcome, cell: (entry) => <Badge tone={entry.outcome === "done" ? "good" : "poor"}>{entry.outcome}</Badge> },
          { name: "From", minor: true, value: (entry) => `${entry.from ?? ""} ${entry.by}`, cell: (entry) => <span class="party"><span>{entry.from ?? "this machine"}</span><small>{entry.by}</small></span> },
        ]}
      />
      {entries && entries.length > 0 && !isAll && <div class="table-foot"><Button label="Show older ones" busy={action.busy} onClick={() => void older()} /></div>}
    </Page>
  );
}

function detail(entry: Entry): string {
  return Object.entries(entry.detail ?? {}).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(" ") : String(value)}`).join(", ");
}
