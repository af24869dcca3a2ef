// Running calls and records, as the gateway tells of them.
export interface Video {
  readonly codec: string;
  readonly loss: number;
  readonly loss_out: number | null;
  readonly kbit_in: number;
  readonly kbit_out: number;
  readonly limit_kbit: number | null;
}

export interface Quality {
  readonly mos: number | null;
  readonly loss: number;
  readonly loss_out: number | null;
  readonly jitter_ms: number;
  readonly round_trip_ms: number | null;
  readonly video: Video | null;
}

export interface Leg {
  readonly id: string;
  readonly side: "caller" | "called" | null;
  readonly role: "front" | "back";
  readonly media: "webrtc" | "rtp";
  readonly user: string | null;
  readonly answered: boolean;
  readonly on_hold: boolean;
  readonly silent: boolean;
  readonly quality: Quality | null;
}

export interface Call {
  readonly gcid: string;
  readonly state: "setup" | "active" | "ending";
  readonly from: string;
  readonly from_user: string | null;
  readonly to: string;
  readonly trunk: string | null;
  readonly started_at: number;
  readonly answered_at: number | null;
  readonly media: "anchored" | "direct";
  readonly parked?: string | null;
  readonly recording: { readonly state: "running" | "paused" | "masked" | "stopped"; readonly name: string | null; readonly on_media_server?: boolean } | null;
  readonly stream: { readonly state: string; readonly url: string; readonly mode: string } | null;
  readonly capture: { readonly packets: number } | null;
  readonly legs: readonly Leg[];
}

export interface LegFigures {
  readonly codec: string | null;
  readonly packets_received: number | null;
  readonly packets_sent: number | null;
  readonly packets_lost: number | null;
  readonly jitter_ms: number | null;
  readonly round_trip_ms: number | null;
  readonly mos: number | null;
  readonly mos_lowest: number | null;
}

export interface CallRecord {
  readonly gcid: string;
  readonly from: string;
  readonly from_user: string | null;
  readonly to: string;
  readonly trunk: string | null;
  readonly started_at: number;
  readonly answered_at: number | null;
  readonly ended_at: number;
  readonly duration_ms: number;
  readonly ended_by: string;
  readonly cause: string;
  readonly refusal: string | null;
  readonly why: string;
  readonly recordings: readonly string[] | null;
  readonly silent_from: string | null;
  readonly attempts: number | null;
  readonly front_media: LegFigures | null;
  readonly back_media: LegFigures | null;
  readonly diverted: readonly string[] | null;
  readonly parked: readonly string[] | null;
  readonly caller_check: string | null;
}

export interface List<T> {
  readonly total?: number;
  readonly items: readonly T[];
}

export const legOf = (call: Call, side: "caller" | "called") => call.legs.find((leg) => leg.side === side);
