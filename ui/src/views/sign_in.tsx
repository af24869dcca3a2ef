// The way in.
import { useRef } from "preact/hooks";
import type { Phone } from "../phone";
import { Mark } from "./icons";

export function SignIn({ phone }: { phone: Phone }) {
  const [user, password] = [useRef<HTMLInputElement>(null), useRef<HTMLInputElement>(null)];
  const busy = phone.stage === "signing-in";
  const submit = (event: Event) => {
    event.preventDefault();
    void phone.signIn(user.current?.value.trim() ?? "", password.current?.value ?? "");
  };
  return (
    <main class="gate">
      <form class="card" onSubmit={submit} aria-label="Sign in">
        <Mark />
        <h1>Crosspoint</h1>
        <p class="hint">Sign in to call and be called in this browser.</p>
        <label class="field">
          User
          <input ref={user} name="username" autocomplete="username" defaultValue={phone.book.settings.user} required autocapitalize="none" spellcheck={false} />
        </label>
        <label class="field">
          Password
          <input ref={password} name="password" type="password" autocomplete="current-password" required />
        </label>
        <p class="notice" role="alert">{phone.notice}</p>
        <button type="submit" class="primary big" disabled={busy}>{busy ? "Signing in…" : "Sign in"}</button>
      </form>
    </main>
  );
}
