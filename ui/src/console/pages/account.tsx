// One's own account.
import { useState } from "preact/hooks";
import { useAction, useApi } from "../hooks";
import { Icon } from "../icons";
import { Button, Card, ErrorNote, Facts, Field, Page } from "../parts";
import { lasting } from "../words";

export function Account() {
  const api = useApi();
  const action = useAction();
  const [old, setOld] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [done, setDone] = useState(false);
  const account = api.account!;
  const submit = async (event: Event) => {
    event.preventDefault();
    setDone(false);
    const changed = await action.run(async () => {
      if (password !== again) throw new Error("The two new passwords differ.");
      await api.send("PUT", "/session/password", { old, password });
    });
    if (!changed) return;
    setDone(true);
    for (const clear of [setOld, setPassword, setAgain]) clear("");
  };
  return (
    <Page title="Your account">
      <div class="columns even">
        <Card title={account.name}>
          <Facts items={[
            ["Role", account.role],
            ["Signed out after", `${lasting(account.idle_s * 1000)} without doing anything`],
            ["And at the latest after", lasting(account.lifetime_s * 1000)],
            ["You may", account.may.filter((action) => action !== "open" && action !== "account").join(", ")],
          ]} />
        </Card>
        {account.has_password && <Card title="Another password">
          <form class="form" onSubmit={submit}>
            <Field label="Old password" value={old} onInput={setOld} type="password" autoComplete="current-password" required />
            <Field label="New password" value={password} onInput={setPassword} type="password" autoComplete="new-password" minLength={10} required hint="At least 10 characters." />
            <Field label="The new one again" value={again} onInput={setAgain} type="password" autoComplete="new-password" required />
            <ErrorNote error={action.error} />
            {done && <p class="ok-note" role="status"><Icon name="check" /> It is changed. You are signed out everywhere else.</p>}
            <div class="dialog-foot"><Button label="Change it" tone="primary" type="submit" busy={action.busy} /></div>
          </form>
        </Card>}
      </div>
    </Page>
  );
}
