// The client: one page's part in a session, with its accounts and its calls.
import { Account, type AccountHost } from "./account.js";
import { Call, type CallHost, type CallOptions, type CallRecord, readDiverted } from "./call.js";
import { Emitter } from "./emitter.js";
import { Device } from "./device.js";
import { CrosspointError } from "./errors.js";
import { Link } from "./link.js";
import { forget, keep, recall, type Kept } from "./memory.js";
import { browser, type Platform, type Storage } from "./platform.js";
import { openSession, socketUrl, type SignInOptions } from "./sign_in.js";
import { iceServersIn, peerOf, text, type CallInfo, type ElsewhereCall, type Fields, type Validated } from "./wire.js";

/** How to make a client. */
export interface ClientOptions {
  /** The gateway's socket, such as `wss://gateway.example:8443/rtc/api`. */
  url: string;
  /** The session's token: {@link Client.signIn} gets one, or your server does with the provisioning API. */
  token: string;
  /** Where the client keeps itself over a reload; `sessionStorage` unless told otherwise, `null` for nowhere. */
  storage?: Storage | null;
  /** STUN and TURN servers; those that the gateway names unless told otherwise. */
  iceServers?: RTCIceServer[];
  /** `relay` sends all sound over the TURN servers. */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** How often a call reports its quality, in ms; 5000 unless told otherwise. */
  qualityInterval?: number;
  /** Which accounts to connect with the client, by id or network tag; all unless told otherwise. */
  accounts?: readonly string[];
  /** @internal */
  platform?: Platform;
}

/**
 * - `idle`: not connected yet.
 * - `connecting`: on the way for the first time.
 * - `connected`: the session is open.
 * - `reconnecting`: the socket is lost and is being brought back; calls go on.
 * - `closed`: for good.
 */
export type ClientState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

/** What a client reports. */
export interface ClientEvents {
  state: [state: ClientState];
  /** Somebody calls. The call rings until it is accepted, rejected, or the caller gives up. */
  incoming: [call: Call];
  /** There is one more call in {@link Client.calls}: placed, incoming, fetched, or brought back after a reload. */
  call: [call: Call];
  /** The socket is lost; the next attempt comes in `delay` ms. Calls go on, and what is missed is caught up with. */
  reconnecting: [attempt: number, delay: number];
  /** The socket is back. */
  reconnected: [];
  /** The client is closed: by {@link Client.disconnect}, or by the gateway, with the reason. */
  closed: [error: CrosspointError | undefined];
}

/** One page's part in a session: make one, {@link Client.connect} it, and call from its accounts. */
export class Client extends Emitter<ClientEvents> {
  readonly #options: ClientOptions;
  readonly #platform: Platform;
  readonly #storage: Storage | undefined;
  readonly #link: Link;
  readonly #microphone: Device;
  readonly #camera: Device;
  readonly #accounts = new Map<string, Account>();
  readonly #calls = new Map<string, Call>();
  /** Ends that the gateway has not confirmed, by leg. */
  readonly #endings = new Map<string, { to: string; body: Fields }>();
  #state: ClientState = "idle";
  #id: string;
  #kept: CallRecord[] = [];
  #connecting: { resolve(): void; reject(error: Error): void } | undefined;
  #networkChanged = false;
  #relays: RTCIceServer[] = [];
  #stopWatching = () => {};

  constructor(options: ClientOptions) {
    super();
    this.#options = options;
    this.#platform = options.platform ?? browser();
    this.#storage = options.storage === null ? undefined : (options.storage ?? this.#platform.storage);
    this.#id = this.#platform.uuid();
    this.#microphone = new Device(this.#platform, "microphone");
    this.#camera = new Device(this.#platform, "camera");
    this.#link = new Link(this.#platform, options.url, {
      hello: () => ({ token: options.token, client: this.#id }),
      validated: (body) => this.#validated(body),
      message: (method, body) => this.#message(method, body),
      progress: () => this.#save(),
      reconnecting: (attempt, delay) => this.#reconnecting(attempt, delay),
      closed: (error) => this.#closed(error),
    });
  }

  /** Signs a user in at the gateway and makes a client for the session. It is still to be connected. */
  static async signIn(options: SignInOptions & Partial<Omit<ClientOptions, "url" | "token">>): Promise<Client> {
    const { baseUrl, user, password, ...rest } = options;
    const { token } = await openSession({ baseUrl, user, password });
    return new Client({ ...rest, url: socketUrl(baseUrl), token });
  }

  /** The client that this tab had before it was reloaded, if it had one: connect it and its calls come back. */
  static restore(options: Partial<Omit<ClientOptions, "url" | "token">> = {}): Client | undefined {
    const storage = options.storage === null ? undefined : (options.storage ?? (options.platform ?? browser()).storage);
    const kept = recall(storage);
    return kept && new Client({ ...options, url: kept.url, token: kept.token });
  }

  get state(): ClientState {
    return this.#state;
  }

  /** The STUN and TURN servers that calls use: those of the options, or those that the gateway named when it was last connected. */
  get iceServers(): RTCIceServer[] {
    return this.#options.iceServers ?? this.#relays;
  }

  /** The accounts of the session, by id; known once connected. */
  get accounts(): ReadonlyMap<string, Account> {
    return this.#accounts;
  }

  /** The calls of this page, oldest first. */
  get calls(): readonly Call[] {
    return [...this.#calls.values()];
  }

  /** The account with this id, else the first on a network with this tag. */
  account(idOrNetwork: string): Account | undefined {
    return this.#accounts.get(idOrNetwork) ?? [...this.#accounts.values()].find((a) => a.network === idOrNetwork);
  }

  /**
   * Opens the session. Once this has resolved, the client stays connected on its own: a lost socket comes back, and
   * what was missed is caught up with. In a page that was reloaded, {@link Client.calls} then holds the calls of
   * before, on their way back.
   *
   * Rejects with `unreachable` when the gateway does not answer at first; {@link Client.restore} gives a client to try
   * again with. Any other error means that the session is over.
   */
  async connect(): Promise<void> {
    if (this.#state !== "idle") throw new CrosspointError("invalid-state", `the client is ${this.#state}`);
    this.#enter("connecting");
    await this.#recall();
    const stops = [
      this.#platform.onNetworkChange(() => this.#networkChange()),
      this.#platform.onWake(() => this.#link.wake()),
      // A tab that closes looks like one that reloads. Without calls there is nothing to come back to, and a phone that
      // is gone shall not seem to ring.
      this.#platform.onLeave(() => this.#calls.size === 0 && this.#endings.size === 0 && this.#link.farewell()),
    ];
    this.#stopWatching = () => stops.forEach((stop) => stop());
    return new Promise((resolve, reject) => {
      this.#connecting = { resolve, reject };
      this.#link.open();
    });
  }

  /** Ends the calls, signs the accounts off and closes the session on this page. */
  disconnect(): void {
    for (const call of this.calls) call.hangup();
    if (this.#state === "idle") this.#closed(undefined);
    else this.#link.close();
  }

  /** Moves this client's microphone to another device or other settings, in the calls that run and those to come. */
  setMicrophone(device: string | MediaTrackConstraints): Promise<void> {
    return this.#microphone.select(constraintsOf(device));
  }

  /** Moves this client's camera to another device or other settings (`{ facingMode: "environment" }`, say), likewise. */
  setCamera(device: string | MediaTrackConstraints): Promise<void> {
    return this.#camera.select(constraintsOf(device));
  }

  /** What this client had before the page was reloaded, unless another page has it now. */
  async #recall(): Promise<void> {
    const kept = recall(this.#storage);
    const ours = kept?.url === this.#options.url && kept.token === this.#options.token;
    // A tab that is duplicated copies the storage: the client stays with the page that holds its name.
    if (ours && (await this.#platform.claim(`crosspoint.client.${kept.client}`))) {
      this.#id = kept.client;
      this.#link.received = kept.received;
      this.#kept = kept.calls;
    } else {
      await this.#platform.claim(`crosspoint.client.${this.#id}`);
    }
    this.#save();
  }

  #validated(body: Validated): void {
    const first = this.#connecting;
    this.#connecting = undefined;
    this.#relays = iceServersIn(body.iceServers);
    for (const [id, info] of Object.entries(body.accounts ?? {})) {
      let account = this.#accounts.get(id);
      if (!account) this.#accounts.set(id, (account = new Account(this.#accountHost, id)));
      account.update(info);
    }
    const infos = body.calls ?? [];
    for (const [id, { to, body: end }] of this.#endings) {
      if (infos.some((info) => info.id === id)) this.#link.send("call.end", to, end);
      else this.#endings.delete(id);
    }
    const networkChanged = this.#networkChanged;
    this.#networkChanged = false;
    for (const call of this.calls) {
      call.linkBack(infos.find((info) => info.id === call.id), body.resumed === true, networkChanged);
    }
    if (first) {
      for (const info of infos) this.#bringBack(info);
      this.#kept = [];
      this.#connectAccounts();
    }
    this.#save();
    this.#enter("connected");
    if (first) first.resolve();
    else this.emit("reconnected");
  }

  #connectAccounts(): void {
    const chosen = this.#options.accounts;
    for (const account of this.#accounts.values()) {
      if (chosen && !chosen.includes(account.id) && !chosen.includes(account.network)) continue;
      account.connect().catch(() => {});
    }
  }

  /** A call that this client had before its page was reloaded. */
  #bringBack(info: CallInfo): void {
    const account = this.#accounts.get(info.account);
    if (!account || this.#endings.has(info.id)) return;
    const record = this.#kept.find((call) => call.gcid === info.gcid);
    const rings = info.direction === "incoming" && info.state !== "active";
    if (rings) {
      // Without its description it is offered again.
      if (record?.offer) this.#incoming(account, info.id, info.gcid, peerOf(info.peer), record.offer, record.started);
      return;
    }
    // A leg that was taken over looks like a call of ours to nobody: what we remember knows better.
    const call = new Call(this.#callHost, account, {
      direction: info.direction,
      peer: peerOf(info.peer),
      started: info.since === undefined ? this.#platform.now() : 1000 * info.since,
      muted: false,
      held: false,
      ...record,
      id: this.#platform.uuid(),
      gcid: info.gcid,
      account: account.id,
      state: "reconnecting",
    });
    this.#add(call);
    call.takeOver().catch(() => {});
  }

  #message(method: string, body: Fields): void {
    const dot = method.indexOf(".");
    const [module, action] = [method.slice(0, dot), method.slice(dot + 1)];
    const id = text(body, "id");
    if (module === "account") this.#accounts.get(id)?.handle(action, body);
    else if (module === "call") this.#callMessage(id, action, body);
    // Anything else is of a later version, or a core.error about what a later message tells too.
  }

  #callMessage(id: string, action: string, body: Fields): void {
    const call = this.#calls.get(id);
    if (action === "ack.end") this.#endings.delete(id);
    if (action === "end") {
      const to = call?.account.target ?? this.#endings.get(id)?.to ?? "";
      this.#endings.delete(id);
      this.#link.send("call.ack.end", to, { id, gcid: text(body, "gcid") });
    }
    if (call) call.handle(action, body);
    else if (action === "start") this.#started(id, body);
  }

  #started(id: string, body: Fields): void {
    const account = this.#accounts.get(text(body, "account")) ?? [...this.#accounts.values()][0];
    if (!account || this.#calls.size >= CALLS_MAX || this.#endings.has(id)) return;
    const peer = peerOf(body["peer"], text(body, "source"));
    const call = this.#incoming(account, id, text(body, "gcid"), peer, text(body, "sdp"), this.#platform.now(), body);
    this.#link.send("call.ringing", account.target, { id, gcid: call.gcid, account: account.id });
  }

  #incoming(account: Account, id: string, gcid: string, peer: Call["peer"], offer: string, started: number, said: Fields = {}): Call {
    const call = new Call(this.#callHost, account, {
      id, gcid, account: account.id, direction: "incoming", state: "incoming", peer, started, muted: false, held: false, offer,
    });
    call.autoAnswer = said["autoAnswer"] === true;
    call.diverted = readDiverted(said["diverted"]);
    this.#add(call);
    account.rings(call);
    this.emit("incoming", call);
    return call;
  }

  #place(account: Account, target: string, options: CallOptions): Call {
    const call = this.#outgoing(account, this.#platform.uuid(), { identifier: target }, "calling");
    call.start(options, target).catch(() => {});
    return call;
  }

  #takeOver(account: Account, elsewhere: ElsewhereCall, options: CallOptions): Call {
    const call = this.#outgoing(account, elsewhere.gcid, elsewhere.peer, "connecting", elsewhere);
    call.takeOver(options).catch(() => {});
    return call;
  }

  #outgoing(account: Account, gcid: string, peer: Call["peer"], state: "calling" | "connecting", before?: ElsewhereCall): Call {
    if (this.#state === "closed") throw new CrosspointError("closed", "the client is closed");
    if (this.#calls.size >= CALLS_MAX) throw new CrosspointError("invalid-state", `there are ${CALLS_MAX} calls already`);
    const call = new Call(this.#callHost, account, {
      id: this.#platform.uuid(),
      gcid,
      account: account.id,
      direction: before?.direction ?? "outgoing",
      state,
      peer,
      started: before?.since.getTime() ?? this.#platform.now(),
      muted: false,
      held: false,
    });
    this.#add(call);
    return call;
  }

  #add(call: Call): void {
    this.#calls.set(call.id, call);
    this.#save();
    this.emit("call", call);
  }

  #reconnecting(attempt: number, delay: number): void {
    for (const call of this.calls) call.linkLost();
    if (this.#connecting && attempt >= FIRST_ATTEMPTS) {
      this.#closed(new CrosspointError("unreachable", `${this.#options.url} does not answer`));
      this.#link.close();
      return;
    }
    if (!this.#connecting) this.#enter("reconnecting");
    this.emit("reconnecting", attempt, delay);
  }

  #networkChange(): void {
    this.#networkChanged = true;
    this.#link.renew();
  }

  #closed(error: CrosspointError | undefined): void {
    if (this.#state === "closed") return;
    this.#stopWatching();
    // A gateway that is only away for a moment still knows us afterwards.
    if (error?.code !== "unreachable") forget(this.#storage);
    this.#enter("closed");
    for (const call of this.calls) call.abandon();
    this.#connecting?.reject(error ?? new CrosspointError("closed", "the client was closed"));
    this.#connecting = undefined;
    this.emit("closed", error);
  }

  #enter(state: ClientState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit("state", state);
  }

  #save(): void {
    if (this.#state === "closed") return;
    const kept: Kept = {
      url: this.#options.url,
      token: this.#options.token,
      client: this.#id,
      received: this.#link.received,
      calls: [...this.calls.map((call) => call.record()), ...this.#kept],
    };
    keep(this.#storage, kept);
  }

  #send(method: string, to: string, body: Fields): void {
    if (method === "call.end") this.#endings.set(text(body, "id"), { to, body });
    this.#link.send(method, to, body);
  }

  readonly #accountHost: AccountHost = {
    send: (method, to, body) => this.#link.send(method, to, body),
    place: (account, target, options) => this.#place(account, target, options),
    takeOver: (account, elsewhere, options) => this.#takeOver(account, elsewhere, options),
  };

  get #callHost(): CallHost {
    const { iceTransportPolicy = "all", qualityInterval = 5000 } = this.#options;
    const link = this.#link;
    return {
      platform: this.#platform,
      microphone: this.#microphone,
      camera: this.#camera,
      configuration: { iceServers: this.iceServers, iceTransportPolicy },
      qualityInterval,
      get isOpen() {
        return link.isOpen;
      },
      send: (method, to, body) => this.#send(method, to, body),
      probe: () => link.probe(),
      save: () => this.#save(),
      renamed: (call, before) => {
        this.#calls.delete(before);
        this.#calls.set(call.id, call);
      },
      ended: (call) => {
        this.#calls.delete(call.id);
        this.#save();
      },
    };
  }
}

function constraintsOf(device: string | MediaTrackConstraints): MediaTrackConstraints | true {
  if (device === "") return true;
  return typeof device === "string" ? { deviceId: { exact: device } } : device;
}

/** As many as the gateway allows one client. */
const CALLS_MAX = 32;
/** How often the first connection is tried before it is given up. */
const FIRST_ATTEMPTS = 4;
