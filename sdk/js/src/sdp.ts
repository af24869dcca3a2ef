// The few things that are read in a session description; all else is the browser's.

/** Whether the far side has put us on hold: it receives nothing from us. @internal */
export function holdsUs(sdp: string): boolean {
  const [session = "", ...media] = sdp.split(/^(?=m=)/m);
  const audio = media.find((section) => section.startsWith("m=audio"));
  const direction = (part: string) => /^a=(sendrecv|sendonly|recvonly|inactive)\s*$/m.exec(part)?.[1];
  const found = (audio && direction(audio)) ?? direction(session);
  return found === "sendonly" || found === "inactive";
}

/** Whether a description has a line for pictures. @internal */
export function hasVideo(sdp: string): boolean {
  return /^m=video [1-9]/m.test(sdp);
}

/** The candidates in a description. @internal */
export function candidatesIn(sdp: string): RTCIceCandidateInit[] {
  return sdp
    .split(/^(?=m=)/m)
    .slice(1)
    .flatMap((section, sdpMLineIndex) =>
      [...section.matchAll(/^a=(candidate:\S.*?)\s*$/gm)].map((match) => ({
        candidate: match[1] ?? "",
        sdpMLineIndex,
      })),
    );
}

/** A candidate as `call.candidate` carries it: JSON text, a bare line or an object. `null` ends them. @internal */
export function readCandidate(payload: unknown): RTCIceCandidateInit | null {
  let value = payload;
  if (typeof value === "string" && value.trimStart().startsWith("{")) {
    try {
      value = JSON.parse(value) as unknown;
    } catch {
      return null;
    }
  }
  if (typeof value === "string") value = { candidate: value.replace(/^a=/, ""), sdpMLineIndex: 0 };
  if (typeof value !== "object" || value === null) return null;
  const init = value as RTCIceCandidateInit;
  return typeof init.candidate === "string" && init.candidate !== "" ? init : null;
}
