// Calls that are over.
import { useState } from "preact/hooks";
import type { CallRecord, List } from "../calls";
import { usePoll } from "../hooks";
import { At, Badge, Page, Score } from "../parts";
import { Table } from "../table";
import { lasting, phrase } from "../words";
import { Cause } from "./call";
import { Party } from "./calls";

const DAY = 86_400_000;
const PERIODS = [["1", "Today and yesterday"], ["7", "Seven days"], ["31", "A month"], ["", "Everything"]] as const;

export function Records({ query }: { query: URLSearchParams }) {
  const [days, setDays] = useState("7");
  const [refused, setRefused] = useState(false);
  const party = query.get("party") ?? "";
  const wanted = new URLSearchParams({ limit: "1000" });
  // By whole hours: the same question is asked for a while.
  if (days) wanted.set("since", String(Math.floor((Date.now() - Number(days) * DAY) / 3_600_000) * 3_600_000));
  if (refused) wanted.set("refused", "true");
  if (party) wanted.set("party", party);
  const records = usePoll<List<CallRecord>>(`/records?${wanted}`, 5000);
  return (
    <Page title="Call records" about={party ? <>Calls from or to <b>{party}</b>. <a href="#/records">Show everybody’s</a></> : "The newest 1000 calls that are over."}>
      <Table
        name="records"
        rows={records.data?.items}
        error={records.error}
        keyOf={(record) => `${record.gcid} ${record.started_at} ${record.to}`}
        hrefOf={(record) => `#/calls/${encodeURIComponent(record.gcid)}`}
        sort={["Began", "down"]}
        empty={{ icon: "records", title: "There are no records", text: refused ? "No call was refused." : "What is called shows here when it is over." }}
        tools={
          <>
            <select aria-label="Period" value={days} onChange={(event) => setDays(event.currentTarget.value)}>
              {PERIODS.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
            </select>
            <div class="chips" role="group" aria-label="Show">
              <button type="button" aria-pressed={!refused} onClick={() => setRefused(false)}>All</button>
              <button type="button" aria-pressed={refused} onClick={() => setRefused(true)}>Refused</button>
            </div>
          </>
        }
        columns={[
          { name: "Began", value: (record) => record.started_at, cell: (record) => <At ms={record.started_at} /> },
          { name: "From", value: (record) => `${record.from} ${record.from_user ?? ""}`, cell: (record) => <Party address={record.from} user={record.from_user} /> },
          { name: "To", value: (record) => record.to, cell: (record) => <Party address={record.to} user={null} /> },
          { name: "Duration", align: "right", value: (record) => record.duration_ms, cell: (record) => record.answered_at === null ? <span class="soft">–</span> : lasting(record.duration_ms) },
          { name: "Ended", value: (record) => phrase(record.cause), cell: (record) => (
            <span class="inline">
              <Cause record={record} />
              {record.silent_from && record.silent_from !== "none" && <Badge tone="fair" title="Nothing was heard from a side for seconds">silence</Badge>}
              {(record.recordings?.length ?? 0) > 0 && <Badge tone="info">recorded</Badge>}
            </span>
          ) },
          { name: "Score", align: "right", minor: true, value: (record) => lower(record), cell: (record) => <Score mos={lower(record)} /> },
          { name: "Trunk", minor: true, value: (record) => record.trunk },
        ]}
      />
    </Page>
  );
}

function lower(record: CallRecord): number | null {
  const scores = [record.front_media?.mos, record.back_media?.mos].filter((mos) => mos != null);
  return scores.length === 0 ? null : Math.min(...scores);
}
