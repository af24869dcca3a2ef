// Where a call would go now, with every rule that was tried.
import { useEffect, useState } from "preact/hooks";
import type { List } from "../calls";
import { useAction, useApi, usePoll } from "../hooks";
import { Icon } from "../icons";
import { Badge, Button, Card, Empty, ErrorNote, Field, Page, Select } from "../parts";
import { phrase } from "../words";
import type { Trunk } from "./trunks";

interface Place {
  readonly kind: "call" | "builtin" | "refused";
  readonly playback?: string;
  readonly cause?: string;
  readonly refusal?: string | null;
  readonly targets?: readonly { readonly user?: string | null; readonly trunk?: string; readonly number?: string; readonly shows?: string | null }[];
}

export interface Step {
  readonly rule: string;
  readonly verdict: "matched" | "not_matched" | "refused";
  readonly detail: string;
}

interface Decision {
  readonly ok: boolean;
  readonly emergency: boolean;
  readonly outcome: Place;
  readonly then: readonly Place[];
  readonly steps: readonly Step[];
  readonly why: string;
}

export function RouteTest({ query }: { query: URLSearchParams }) {
  const api = useApi();
  const action = useAction();
  const trunks = usePoll<List<Trunk>>("/trunks", 0).data?.items ?? [];
  const [from, setFrom] = useState(query.get("from") ?? "");
  const [to, setTo] = useState(query.get("to") ?? "");
  const [trunk, setTrunk] = useState(query.get("trunk") ?? "");
  const [decision, setDecision] = useState<Decision>();
  const test = () => action.run(async () => {
    setDecision(undefined);
    const asked = new URLSearchParams({ to: to.trim() });
    if (from.trim()) asked.set("from", from.trim());
    if (trunk) asked.set("trunk", trunk);
    // A link to this page asks the same again.
    history.replaceState(null, "", `#/route?${asked}`);
    setDecision(await api.get<Decision>(`/route?${asked.toString().replaceAll("+", "%20")}`).catch((error) => {
      throw error.status === 404 ? new Error(trunk ? "There is no such trunk." : `There is no user ${from}.`) : error;
    }));
  });
  useEffect(() => {
    if (query.get("to")) void test();
  }, []);
  return (
    <Page title="Route test" about="Where a call would go at this moment. Nobody is rung.">
      <Card>
        <form class="route-form" onSubmit={(event) => { event.preventDefault(); void test(); }}>
          <Select label="Comes from" value={trunk} options={[["", "one of our users"], ...trunks.map((it) => [it.name, `trunk ${it.name}`] as const)]} onChange={setTrunk} />
          <Field label={trunk ? "Caller’s number" : "User"} value={from} onInput={setFrom} placeholder={trunk ? "+49 30 …" : "alice"} required={!trunk} />
          <Field label="Dials" value={to} onInput={setTo} placeholder="1002 or +49 30 …" required autoFocus />
          <Button icon="route" label="Test" tone="primary" type="submit" busy={action.busy} />
        </form>
        <ErrorNote error={action.error} />
      </Card>
      {decision ? (
        <>
          <Card title="What would happen">
            <div class="outcome">
              <PlaceShown place={decision.outcome} />
              {decision.emergency && <Badge tone="poor">a call for help</Badge>}
              {decision.then.map((place, index) => (
                <div key={index} class="then"><small>and when that fails</small><PlaceShown place={place} /></div>
              ))}
            </div>
          </Card>
          <Card title="Every rule that was tried"><Steps steps={decision.steps} /></Card>
        </>
      ) : !action.error && !action.busy && (
        <Card><Empty icon="route" title="Ask where a call would go">The answer names each rule, and why it was taken or passed over.</Empty></Card>
      )}
    </Page>
  );
}

function PlaceShown({ place }: { place: Place }) {
  if (place.kind === "refused") {
    return <p class="place"><span class="badge-icon poor"><Icon name="cross" /></span><span>Refused: <b>{phrase(place.cause ?? "")}</b>{place.refusal && <small> by the rule “{phrase(place.refusal)}”</small>}</span></p>;
  }
  if (place.kind === "builtin") {
    return <p class="place"><span class="badge-icon good"><Icon name="play" /></span><span>We answer ourselves: <b>{place.playback}</b></span></p>;
  }
  const targets = place.targets ?? [];
  return (
    <>
      {targets.length === 0 && <p class="place"><span class="badge-icon fair"><Icon name="warning" /></span><span>Nobody is there to ring.</span></p>}
      {targets.map((target, index) => (
        <p class="place" key={index}>
          <span class="badge-icon good"><Icon name="calls" /></span>
          <span>
            {target.trunk ? <>Over trunk <b>{target.trunk}</b> to <b>{target.number}</b></> : target.user ? <>Rings <b>{target.user}</b></> : <>To <b>{target.number}</b></>}
            {target.shows && <small> showing {target.shows}</small>}
          </span>
        </p>
      ))}
    </>
  );
}

const VERDICTS = { matched: ["check", "good"], refused: ["cross", "poor"], not_matched: ["skip", "unknown"] } as const;

export function Steps({ steps }: { steps: readonly Step[] }) {
  if (steps.length === 0) return <p class="soft">No rule was tried.</p>;
  return (
    <ol class="steps">
      {steps.map((step, index) => {
        const [icon, tone] = VERDICTS[step.verdict];
        return (
          <li key={index} class={step.verdict}>
            <span class={`badge-icon ${tone}`} title={phrase(step.verdict)}><Icon name={icon} /></span>
            <span>
              <b>{step.rule}</b>
              {step.detail && <small>{step.detail}</small>}
            </span>
            <span class="verdict">{phrase(step.verdict)}</span>
          </li>
        );
      })}
    </ol>
  );
}

/** The lines that a record keeps, `rule: verdict (detail)`, and what became of it at the end. */
export function stepsOf(why: string): Step[] {
  const verdicts: Record<string, Step["verdict"]> = { matched: "matched", "no match": "not_matched", refused: "refused" };
  return why.split("\n").filter(Boolean).map((line) => {
    const [, rule, verdict, detail = ""] = /^(.*?): (matched|no match|refused) \((.*)\)$/.exec(line) ?? [];
    if (rule && verdict) return { rule, verdict: verdicts[verdict]!, detail };
    const outcome = line.replace(/^=> /, "").trim();
    return { rule: outcome, verdict: outcome.startsWith("refused") ? "refused" : "matched", detail: "" };
  });
}
