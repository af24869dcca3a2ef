// Trunks, and how each of them does.
import type { List } from "../calls";
import { usePoll } from "../hooks";
import { Badge, Card, Dot, Empty, ErrorNote, Facts, Loading, Page, type Tone } from "../parts";
import { count, phrase, plural } from "../words";

export interface Trunk {
  readonly name: string;
  readonly state: "ready" | "full" | "down";
  readonly destinations: readonly { readonly address: string; readonly state: "unknown" | "up" | "down"; readonly why: string | null }[];
  readonly registration: { readonly state: string; readonly why: string | null } | null;
  readonly accepted_registration: string | null;
  readonly calls: number;
  readonly calls_out: number;
  readonly calls_in: number;
  readonly failovers: number;
  readonly refused: number;
  readonly foreign_challenges?: number;
}

export const stateTone = (state: string): Tone => (state === "ready" || state === "up" || state === "registered" ? "good" : state === "full" || state === "unknown" ? "fair" : "poor");

export function Trunks() {
  const trunks = usePoll<List<Trunk>>("/trunks", 2000);
  const items = trunks.data?.items;
  const ready = items?.filter((trunk) => trunk.state === "ready").length ?? 0;
  return (
    <Page title="Trunks" about={items && items.length > 0 ? `${ready} of ${plural(items.length, "trunk")} ready` : "Other telephone systems that calls come from and go to."}>
      <ErrorNote error={trunks.error} />
      {!items ? !trunks.error && <Loading /> : items.length === 0 ? (
        <Card><Empty icon="trunks" title="No trunk is configured">A section <code>[[trunk]]</code> of the configuration makes one.</Empty></Card>
      ) : (
        <div class="cards">
          {items.map((trunk) => <TrunkCard key={trunk.name} trunk={trunk} />)}
        </div>
      )}
    </Page>
  );
}

function TrunkCard({ trunk }: { trunk: Trunk }) {
  return (
    <Card title={<span class="inline"><Dot tone={stateTone(trunk.state)} /> {trunk.name}</span>} actions={<Badge tone={stateTone(trunk.state)}>{trunk.state}</Badge>}>
      <Facts items={[
        ["Calls now", <b class="big">{count(trunk.calls)}</b>],
        ["Out", count(trunk.calls_out)],
        ["In", count(trunk.calls_in)],
        ["Went elsewhere", count(trunk.failovers)],
        ["Refused by limits", count(trunk.refused)],
      ]} />
      <ul class="lines inner" aria-label={`Destinations of ${trunk.name}`}>
        {trunk.destinations.length === 0 && <li><span class="soft">No address is known: its name does not resolve.</span></li>}
        {trunk.destinations.map((it) => (
          <li key={it.address}>
            <Dot tone={stateTone(it.state)} />
            <code class="grow clip">{it.address}</code>
            {it.why && <small>{phrase(it.why)}</small>}
            <Badge tone={stateTone(it.state)}>{it.state}</Badge>
          </li>
        ))}
        {trunk.registration && (
          <li>
            <Dot tone={stateTone(trunk.registration.state)} />
            <span class="grow">Our sign-in there</span>
            {trunk.registration.why && <small>{phrase(trunk.registration.why)}</small>}
            <Badge tone={stateTone(trunk.registration.state)}>{phrase(trunk.registration.state)}</Badge>
          </li>
        )}
        {trunk.accepted_registration && (
          <li>
            <Dot tone={stateTone(trunk.accepted_registration)} />
            <span class="grow">Its sign-in with us</span>
            <Badge tone={stateTone(trunk.accepted_registration)}>{phrase(trunk.accepted_registration)}</Badge>
          </li>
        )}
        {(trunk.foreign_challenges ?? 0) > 0 && (
          <li>
            <Dot tone="poor" />
            <span class="grow">It asked {count(trunk.foreign_challenges!)} times for the password of another realm</span>
          </li>
        )}
      </ul>
    </Card>
  );
}
