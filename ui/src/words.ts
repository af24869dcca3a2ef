// What people read: names of parties, states and reasons, and spans of time.
import type { Call, CrosspointError, Peer } from "@crosspoint/client";

/** The short form of an address: what one would dial. */
export function numberOf(peer: Peer): string {
  const address = peer.identifier.replace(/^(sips?|tel|xmpp):/i, "");
  const user = address.split(/[@;]/)[0] ?? "";
  return user || address || "unknown";
}

export function stateText(call: Call): string {
  switch (call.state) {
    case "calling":
      return "Calling…";
    case "ringing":
      return "Ringing…";
    case "incoming":
      return "Incoming call";
    case "connecting":
      return "Connecting…";
    case "reconnecting":
      return "Reconnecting…";
    case "active":
      return call.held ? "On hold" : call.heldByPeer ? "The other side holds" : "Connected";
    case "ended":
      return "Ended";
  }
}

const ENDS: Record<string, string> = {
  normal: "",
  canceled: "",
  declined: "The call was declined.",
  busy: "The line is busy.",
  noAnswer: "Nobody answered.",
  notFound: "There is no such number.",
  unavailable: "Nobody can be reached there now.",
  notAcceptable: "The two sides share no codec.",
  unauthorized: "This call is not allowed.",
  networkError: "The connection was lost.",
  mediaError: "There is no sound or picture: are the microphone and the camera allowed?",
  replaced: "The call goes on, on another device.",
  transferred: "The call was passed on.",
  answeredElsewhere: "Answered on another device.",
};

/** Why a call is over, or "" where nobody needs to be told. */
export function endText(call: Call): string {
  const end = call.end;
  if (!end || end.by === "local" && end.reason !== "mediaError") return "";
  return ENDS[end.reason] ?? "The gateway ended the call.";
}

export function errorText(error: unknown): string {
  const { code, message, reason } = error as Partial<CrosspointError>;
  switch (code) {
    case "sign-in-failed":
      return "Wrong user or password.";
    case "unreachable":
      return "The gateway does not answer.";
    case "expired-token":
    case "invalid-token":
      return "Please sign in again.";
    case "closed":
      return "This phone is in use in another tab.";
    case "microphone":
      return "The microphone cannot be used. Is it plugged in, and allowed for this page?";
    case "camera":
      return "The camera cannot be used. Is it plugged in, free, and allowed for this page?";
    case "change-refused":
      return "The other side refused.";
    case "transfer-failed":
      return `The transfer failed. ${ENDS[reason ?? ""] ?? ""}`.trim();
    default:
      return message ?? "Something went wrong.";
  }
}

export function duration(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Today's calls by the clock, others by the day. */
export function whenText(at: number, now = Date.now()): string {
  const date = new Date(at);
  const today = new Date(now).toDateString() === date.toDateString();
  return today
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString([], { day: "numeric", month: "short" });
}

export function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? `${words[0]![0]}${words[1]![0]}` : name.slice(0, /\d/.test(name) ? 1 : 2);
  return letters.toUpperCase();
}
