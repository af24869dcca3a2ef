// Getting a session's token with a user's name and password.
import { CrosspointError } from "./errors.js";

/** Whom to sign in, and where. */
export interface SignInOptions {
  /** The gateway's address, such as `https://gateway.example:8443`. */
  baseUrl: string;
  user: string;
  password: string;
}

/** A session at the gateway. */
export interface Session {
  readonly id: string;
  /** What {@link ClientOptions.token} takes. */
  readonly token: string;
  /** When the token ends, if the gateway said so. */
  readonly expires: Date | undefined;
}

/** Opens a session at the gateway: `POST /api/rtcsessions`. */
export async function openSession({ baseUrl, user, password }: SignInOptions): Promise<Session> {
  // Names and passwords may hold any letter (RFC 7617 §2.1).
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  const credentials = btoa(String.fromCharCode(...bytes));
  let response: Response;
  try {
    response = await fetch(new URL("/api/rtcsessions", baseUrl), {
      method: "POST",
      headers: { authorization: `Basic ${credentials}`, "content-type": "application/json" },
      body: "{}",
      // Ours are the credentials above; the browser shall neither send nor ask for others.
      credentials: "omit",
    });
  } catch (error) {
    throw new CrosspointError("unreachable", `${baseUrl} does not answer`, { cause: error });
  }
  if (response.status === 401 || response.status === 403) {
    throw new CrosspointError("sign-in-failed", "wrong user or password");
  }
  const answer = response.ok ? ((await response.json().catch(() => ({}))) as Record<string, unknown>) : {};
  const token = answer["rtc_browser_token"];
  if (typeof token !== "string") {
    throw new CrosspointError("unreachable", `the gateway gave no session (${response.status})`);
  }
  const expires = answer["expires"];
  const end = typeof expires === "number" ? new Date(1000 * expires) : typeof expires === "string" ? new Date(expires) : undefined;
  return { id: String(answer["id"] ?? ""), token, expires: end };
}

/** The address of the socket of the gateway at `baseUrl`. */
export function socketUrl(baseUrl: string): string {
  const url = new URL("/rtc/api", baseUrl);
  url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
  return url.href;
}
