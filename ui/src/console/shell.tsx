// The frame: who is signed in, where one may go, and what is shown.
import { useEffect, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import type { Api } from "./api";
import { ApiContext, forgetAnswers, useApi, usePlace, usePoll, type Place } from "./hooks";
import { Icon, Mark, type IconName } from "./icons";
import { Button, Empty, Loading } from "./parts";
import { follow, type Overview } from "./figures";
import { applyTheme, themeNow, THEMES, type Theme } from "./theme";
import { Account } from "./pages/account";
import { Audit } from "./pages/audit";
import { Bans } from "./pages/bans";
import { CallPage } from "./pages/call";
import { Calls } from "./pages/calls";
import { Configuration } from "./pages/configuration";
import { Operators } from "./pages/operators";
import { OverviewPage } from "./pages/overview";
import { Recordings } from "./pages/recordings";
import { Records } from "./pages/records";
import { Registrations } from "./pages/registrations";
import { RouteTest } from "./pages/route";
import { SignIn } from "./pages/sign_in";
import { Trunks } from "./pages/trunks";
import { Users } from "./pages/users";

interface Entry {
  readonly path: string;
  readonly title: string;
  readonly icon: IconName;
  /** What one must be allowed to do to see it. */
  readonly needs: string;
  readonly page: (place: Place) => ComponentChildren;
}

const SECTIONS: readonly (readonly [string, readonly Entry[]])[] = [
  ["Now", [
    { path: "", title: "Overview", icon: "overview", needs: "see", page: () => <OverviewPage /> },
    { path: "calls", title: "Calls", icon: "calls", needs: "see", page: ({ path }) => (path[1] ? <CallPage key={path[1]} gcid={path[1]} /> : <Calls />) },
    { path: "registrations", title: "Registrations", icon: "registrations", needs: "see", page: ({ query }) => <Registrations user={query.get("user")} /> },
    { path: "trunks", title: "Trunks", icon: "trunks", needs: "see", page: () => <Trunks /> },
  ]],
  ["History", [
    { path: "records", title: "Call records", icon: "records", needs: "see", page: ({ query }) => <Records query={query} /> },
    { path: "recordings", title: "Recordings", icon: "recordings", needs: "see", page: () => <Recordings /> },
    { path: "audit", title: "Audit", icon: "audit", needs: "audit", page: () => <Audit /> },
  ]],
  ["Set-up", [
    { path: "users", title: "Users", icon: "users", needs: "see", page: () => <Users /> },
    { path: "route", title: "Route test", icon: "route", needs: "see", page: ({ query }) => <RouteTest query={query} /> },
    { path: "bans", title: "Bans", icon: "bans", needs: "see", page: () => <Bans /> },
    { path: "configuration", title: "Configuration", icon: "configuration", needs: "configure", page: () => <Configuration /> },
    { path: "operators", title: "Operators", icon: "operators", needs: "configure", page: () => <Operators /> },
  ]],
];

const ACCOUNT: Entry = { path: "account", title: "Your account", icon: "account", needs: "account", page: () => <Account /> };

type State = "asking" | "out" | "in";

export function Console({ api }: { api: Api }) {
  const [state, setState] = useState<State>("asking");
  const [wasIn, setWasIn] = useState(false);
  useEffect(() => {
    api.onSignedOut = () => {
      forgetAnswers();
      setState("out");
    };
    const recall = () => api.recall().then((is) => setState(is ? "in" : "out"), () => setTimeout(recall, 2000));
    void recall();
  }, [api]);
  useEffect(() => {
    if (state === "in") setWasIn(true);
  }, [state]);
  if (state === "asking") return <Loading />;
  return (
    <ApiContext.Provider value={api}>
      {state === "in" ? <Frame /> : <SignIn wasIn={wasIn} onDone={() => setState("in")} />}
    </ApiContext.Provider>
  );
}

function Frame() {
  const api = useApi();
  const place = usePlace();
  const [open, setOpen] = useState(false);
  const name = place.path[0] ?? "";
  const sections = SECTIONS.map(([title, entries]) => [title, entries.filter((entry) => api.may(entry.needs))] as const);
  const entry = [...sections.flatMap(([, entries]) => entries), ACCOUNT].find((entry) => entry.path === name);
  const overview = usePoll<Overview>("/overview", 2000);
  useEffect(() => {
    if (overview.data) follow(overview.data);
  }, [overview.data]);
  useEffect(() => {
    document.title = `${entry?.title ?? "Nothing here"} · Crosspoint`;
    setOpen(false);
    document.querySelector("main")?.scrollTo(0, 0);
  }, [location.hash]);
  const badges: Record<string, number | undefined> = { calls: overview.data?.calls, bans: overview.data?.bans || undefined };
  return (
    <div class={open ? "frame open" : "frame"}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.querySelector("main")?.focus(); }}>Skip to the page</a>
      <div class="topbar">
        <Button icon={open ? "close" : "menu"} label="Menu" tone="quiet" iconOnly onClick={() => setOpen(!open)} />
        <Mark />
        <b>Crosspoint</b>
      </div>
      <nav class="side" aria-label="Pages">
        <a class="brand" href="#/">
          <Mark />
          <span>
            <b>Crosspoint</b>
            <small>{api.account?.version}</small>
          </span>
        </a>
        <div class="side-list">
          {sections.map(([title, entries]) => entries.length > 0 && (
            <section key={title} aria-label={title}>
              <h2>{title}</h2>
              {entries.map((it) => (
                <a key={it.path} href={`#/${it.path}`} aria-current={it === entry ? "page" : undefined}>
                  <Icon name={it.icon} />
                  <span>{it.title}</span>
                  {badges[it.path] !== undefined && <span class="count">{badges[it.path]}</span>}
                </a>
              ))}
            </section>
          ))}
        </div>
        <Foot />
      </nav>
      <div class="shade" onClick={() => setOpen(false)} />
      <main id="main" tabIndex={-1}>
        {overview.error && <p class="offline" role="alert"><Icon name="warning" /> {overview.error} What you see is what was known last.</p>}
        {entry ? entry.page(place) : <Empty icon="route" title="There is no such page">Or your role does not show it. <a href="#/">Go to the overview</a>.</Empty>}
      </main>
    </div>
  );
}

function Foot() {
  const api = useApi();
  const [theme, setTheme] = useState<Theme>(themeNow);
  const choose = (theme: Theme) => {
    applyTheme(theme);
    setTheme(theme);
  };
  const icons = { system: "system", light: "sun", dark: "moon" } as const;
  return (
    <div class="side-foot">
      <div class="themes" role="group" aria-label="Colours">
        {THEMES.map((it) => (
          <button key={it} type="button" aria-pressed={theme === it} aria-label={`Colours: ${it}`} title={`Colours: ${it}`} onClick={() => choose(it)}>
            <Icon name={icons[it]} />
          </button>
        ))}
      </div>
      <div class="me">
        <a href="#/account" title="Your account">
          <b>{api.account?.name}</b>
          <small>{api.account?.role}</small>
        </a>
        <Button icon="leave" label="Sign out" tone="quiet" iconOnly onClick={() => void api.signOut()} />
      </div>
    </div>
  );
}
