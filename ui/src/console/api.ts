// Speaks the operators' interface (docs/openapi/admin.yaml) as whoever has signed in.
export type Role = "viewer" | "operator" | "admin";

/** Who one is: the answer of `/session`. */
export interface Account {
  readonly name: string;
  readonly role: Role;
  /** What the table of permissions allows. */
  readonly may: readonly string[];
  readonly csrf: string | null;
  readonly idle_s: number;
  readonly lifetime_s: number;
  readonly version: string;
  /** False of somebody whom a provider of identities vouched for. */
  readonly has_password: boolean;
}

/** How one may sign in: the answer of `/session/ways`. */
export interface Ways {
  readonly oidc: { readonly label: string } | null;
}

/** Why something was not done, in words for people. */
export class ApiError extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

/** What pages fetch with. Paths are those under `/api/v1`. */
export class Api {
  account: Account | undefined;
  /** Called when the gateway does not know us any more. */
  onSignedOut: () => void = () => {};
  #touched = Date.now();

  constructor() {
    for (const event of ["pointerdown", "keydown", "wheel"]) {
      addEventListener(event, () => (this.#touched = Date.now()), { passive: true });
    }
  }

  may(action: string): boolean {
    return this.account?.may.includes(action) ?? false;
  }

  get<T>(path: string): Promise<T> {
    return this.#ask<T>("GET", path);
  }

  send<T>(method: "POST" | "PUT" | "DELETE", path: string, body?: object): Promise<T> {
    return this.#ask<T>(method, path, body);
  }

  /** The address of a file, for players and links. */
  url(path: string): string {
    return `/api/v1${path}`;
  }

  /** Who is signed in already, if anybody is. */
  async recall(): Promise<boolean> {
    try {
      this.account = await this.#ask<Account>("GET", "/session", undefined, true);
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) return false;
      throw error;
    }
  }

  async signIn(name: string, password: string): Promise<void> {
    this.account = await this.#ask<Account>("POST", "/session", { name, password }, true);
  }

  async signOut(): Promise<void> {
    const done = await this.#ask<{ end?: string | null }>("DELETE", "/session").catch(() => undefined);
    this.account = undefined;
    // Who came from a provider of identities is asked there whether to sign out of it, too.
    if (done?.end) location.assign(done.end);
    else this.onSignedOut();
  }

  async #ask<T>(method: string, path: string, body?: object, isSigningIn = false): Promise<T> {
    const headers: Record<string, string> = {};
    if (body) headers["content-type"] = "application/json";
    if (method !== "GET" && this.account?.csrf) headers["x-crosspoint-csrf"] = this.account.csrf;
    // A page that nobody touches refreshes itself, and does not keep anybody signed in.
    if (method === "GET" && Date.now() - this.#touched > UNTOUCHED) headers["x-crosspoint-refresh"] = "1";
    let response: Response;
    try {
      response = await fetch(this.url(path), { method, headers, body: body && JSON.stringify(body), credentials: "same-origin" });
    } catch {
      throw new ApiError(0, "unreachable", "The gateway does not answer.");
    }
    const text = await response.text();
    const answer = parsed(text);
    if (response.ok) return answer as T;
    if (response.status === 401 && !isSigningIn && this.account) {
      this.account = undefined;
      this.onSignedOut();
    }
    throw new ApiError(response.status, answer.code ?? "failed", sentence(answer.message ?? `The gateway answered ${response.status}.`));
  }
}

function parsed(text: string): { code?: string; message?: string } {
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    return {};
  }
}

function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

const UNTOUCHED = 30_000;
