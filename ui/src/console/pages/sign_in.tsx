// The way in.
import { useEffect, useState } from "preact/hooks";
import type { Ways } from "../api";
import { placeNow, useAction, useApi } from "../hooks";
import { Icon, Mark } from "../icons";
import { Button, ErrorNote, Field } from "../parts";

/** Why somebody who came back from the provider of identities is not signed in. */
const PROBLEMS: Record<string, string> = {
  stale: "This sign-in is over, or began in another browser. Please begin again.",
  denied: "You were not let in there. Please try again, or ask whoever runs it.",
  unavailable: "The provider of identities does not answer. Please try again in a minute, or sign in with a password.",
  untrusted: "What the provider of identities says could not be verified. Please begin again; the gateway's log says more.",
  no_role: "You are known there, but have no role here. Ask whoever runs this gateway.",
  limited: "Too many attempts. Please try again in a minute.",
};

export function SignIn({ wasIn, onDone }: { wasIn: boolean; onDone(): void }) {
  const api = useApi();
  const action = useAction();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [ways, setWays] = useState<Ways>();
  const [problem, setProblem] = useState(() => PROBLEMS[placeNow().query.get("problem") ?? ""]);
  useEffect(() => {
    document.title = "Sign in · Crosspoint";
    // It was said; a reload does not say it again.
    if (placeNow().query.has("problem")) history.replaceState(null, "", "/console");
    // Without an answer there is still the password.
    void api.get<Ways>("/session/ways").then(setWays, () => {});
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setProblem("");
    const done = await action.run(() => api.signIn(name, password).catch((error) => {
      throw error.status === 401 ? new Error("This name and password do not fit.") : error;
    }));
    if (done) onDone();
    else setPassword("");
  };
  return (
    <div class="gate">
      <form class="gate-card" onSubmit={submit}>
        <Mark />
        <h1>Operator console</h1>
        <p class="about">{wasIn ? "You are signed out. Sign in to go on." : "Sign in with your operator account."}</p>
        <ErrorNote error={action.error ?? problem} />
        {ways?.oidc && (
          <>
            <a class="button primary" href="/api/v1/session/oidc">
              <Icon name="account" />
              <span>Sign in with {ways.oidc.label}</span>
            </a>
            <p class="or">or with a password</p>
          </>
        )}
        <Field label="Name" value={name} onInput={setName} autoComplete="username" autoFocus required />
        <Field label="Password" value={password} onInput={setPassword} type="password" autoComplete="current-password" required />
        <Button label="Sign in" tone={ways?.oidc ? "plain" : "primary"} type="submit" busy={action.busy} />
      </form>
      <p class="gate-foot">
        <a href="/">Web phone</a>
      </p>
    </div>
  );
}
