/**
 * Calls in the browser over a Crosspoint gateway.
 *
 * Begin with {@link Client.signIn}, {@link Client.connect} and {@link Account.call}.
 *
 * @module
 */
export { Account, type AccountEvents, type Text } from "./account.js";
export { Call, type CallEvents, type CallOptions, type CallState, type Diverted, type Ended, type SideGrade, type TransferProgress } from "./call.js";
export { Client, type ClientEvents, type ClientOptions, type ClientState } from "./client.js";
export { Emitter, type Unsubscribe } from "./emitter.js";
export { CrosspointError, type ErrorCode } from "./errors.js";
export type { AudioSource, PictureSource, VideoSource } from "./device.js";
export type { Storage } from "./platform.js";
export { preflight, type PreflightOptions, type PreflightReport, type PreflightStep, type Verdict } from "./preflight.js";
export type { PictureReport, QualityReport, VideoReport } from "./quality.js";
export { openSession, socketUrl, type Session, type SignInOptions } from "./sign_in.js";
export type { AccountReason, AccountState, Direction, ElsewhereCall, EndReason, Peer } from "./wire.js";
