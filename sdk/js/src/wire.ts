// The messages of RTC:engine JSON, as docs/protocols/rtcengine.md has them.

/** One message. @internal */
export interface Envelope {
  method: string;
  from?: string;
  to?: string | string[];
  session?: string;
  seq?: number;
  body?: Fields;
}

/** A message's body. @internal */
export type Fields = Record<string, unknown>;

/** Whether an account can be used, as its network says. */
export type AccountState = "connecting" | "connected" | "disconnected" | "failed";

/** Why an account is in its state; empty when there is nothing to say. */
export type AccountReason =
  | ""
  | "unauthorized"
  | "notFound"
  | "timeout"
  | "networkError"
  | "replaced"
  | "invalidAccount"
  | "notAvailable";

/** Why a call ended. */
export type EndReason =
  | "normal"
  | "busy"
  | "declined"
  | "canceled"
  | "noAnswer"
  | "notFound"
  | "unavailable"
  | "notAcceptable"
  | "unauthorized"
  | "networkError"
  | "mediaError"
  | "replaced"
  | "transferred"
  | "answeredElsewhere"
  | "internalError";

/** The other party of a call. */
export interface Peer {
  /** Its address, such as `sip:bob@example.org`. */
  readonly identifier: string;
  /** Its name, if it has one. */
  readonly displayName?: string;
}

/** Who placed a call, seen from here. */
export type Direction = "incoming" | "outgoing";

/** A call that the account's user has on another device. */
export interface ElsewhereCall {
  /** What {@link Account.pull} takes. */
  readonly gcid: string;
  readonly peer: Peer;
  readonly direction: Direction;
  readonly state: string;
  /** What kind of device it is on. */
  readonly device: "browser" | "phone" | "app" | (string & {});
  /** When it began. */
  readonly since: Date;
}

/** An account in `session.validated`. @internal */
export interface AccountInfo {
  identifier: string;
  target: string;
  network: { tag: string };
  state?: AccountState;
}

/** A call in `session.validated`. @internal */
export interface CallInfo {
  id: string;
  gcid: string;
  account: string;
  direction: Direction;
  state: "starting" | "ringing" | "active";
  peer: Peer;
  since?: number;
}

/** The body of `session.validated`. @internal */
export interface Validated {
  result: boolean;
  reason?: { type?: string; message?: string };
  client?: string;
  resumed?: boolean;
  window?: number;
  accounts?: Record<string, AccountInfo>;
  calls?: CallInfo[];
  iceServers?: unknown;
}

/** The STUN and TURN servers that a gateway names; anything else that stands there is passed over. @internal */
export function iceServersIn(value: unknown): RTCIceServer[] {
  const isText = (item: unknown) => typeof item === "string";
  const isServer = (item: unknown) => {
    if (typeof item !== "object" || item === null) return false;
    const { urls, username, credential } = item as Fields;
    const named = isText(urls) || (Array.isArray(urls) && urls.length > 0 && urls.every(isText));
    return named && [username, credential].every((field) => field === undefined || isText(field));
  };
  return Array.isArray(value) ? (value.filter(isServer) as RTCIceServer[]) : [];
}

/** A text field, or "" where the peer sent something else. @internal */
export function text(body: Fields, name: string): string {
  const value = body[name];
  return typeof value === "string" ? value : "";
}

/** The peer in a body, whatever shape it came in. @internal */
export function peerOf(value: unknown, fallback = ""): Peer {
  const fields = (typeof value === "object" && value !== null ? value : {}) as Fields;
  const identifier = text(fields, "identifier") || fallback;
  const displayName = text(fields, "displayName");
  return displayName ? { identifier, displayName } : { identifier };
}
