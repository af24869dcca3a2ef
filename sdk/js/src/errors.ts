// What can go wrong, as one error type with a code to switch on.

/**
 * Why something failed.
 *
 * - `sign-in-failed`: the gateway refused the user's name or password.
 * - `invalid-token`, `expired-token`, `origin-denied`: the gateway refused the session's token, or this page's origin.
 * - `unreachable`: the gateway did not answer.
 * - `closed`: the client was closed, here or by the gateway.
 * - `account-failed`: the network refused the account; `reason` says why.
 * - `microphone`, `camera`: it is missing, busy or not allowed.
 * - `invalid-argument`, `invalid-state`: the application asked for what cannot be.
 * - `call-ended`: the call ended first; `reason` says why.
 * - `change-refused`: the far side refused the change (hold, or a picture); the call goes on as before.
 * - `text-failed`: a text was neither delivered nor kept. `reason` says why.
 * - `transfer-failed`: the far side refused the transfer; the call goes on. `reason` says why.
 * - `timeout`: no answer in time.
 */
export type ErrorCode =
  | "sign-in-failed"
  | "invalid-token"
  | "expired-token"
  | "origin-denied"
  | "unreachable"
  | "closed"
  | "account-failed"
  | "microphone"
  | "camera"
  | "invalid-argument"
  | "invalid-state"
  | "call-ended"
  | "change-refused"
  | "text-failed"
  | "transfer-failed"
  | "timeout";

/** Every error that this library throws or rejects with. */
export class CrosspointError extends Error {
  override readonly name = "CrosspointError";
  /** What failed. */
  readonly code: ErrorCode;
  /** The gateway's word for it, if there is one: a call's or an account's reason. */
  readonly reason: string | undefined;

  /** @internal */
  constructor(code: ErrorCode, message: string, options: { reason?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.reason = options.reason;
  }
}
