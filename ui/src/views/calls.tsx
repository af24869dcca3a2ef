// The calls: the one that has the user's ear large, others small, incoming ones to be answered.
import type { Call } from "@crosspoint/client";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Phone } from "../phone";
import { duration, numberOf, stateText } from "../words";
import { Icon } from "./icons";
import { Face, Keypad, Round } from "./parts";
import { Pictures } from "./pictures";
import { Quality } from "./quality";

export function Calls({ phone }: { phone: Phone }) {
  const incoming = phone.calls.filter((call) => call.state === "incoming");
  const others = phone.calls.filter((call) => call.state !== "incoming" && call !== phone.focus);
  return (
    <>
      {incoming.map((call) => (
        <Incoming key={call.gcid} phone={phone} call={call} />
      ))}
      {phone.focus && phone.focus.state !== "incoming" && <Active key={phone.focus.gcid} phone={phone} call={phone.focus} />}
      {others.map((call) => (
        <Waiting key={call.gcid} phone={phone} call={call} />
      ))}
    </>
  );
}

export function talked(call: Call): string {
  return call.answeredAt ? duration(Math.max(0, (Date.now() - call.answeredAt.getTime()) / 1000)) : "";
}

function Who({ phone, call }: { phone: Phone; call: Call }) {
  const [name, number] = [phone.name(call), numberOf(call.peer)];
  return (
    <div class="who">
      {!call.remoteVideo && <Face name={name} large />}
      <h2>{name}</h2>
      {name !== number && <p class="number">{number}</p>}
    </div>
  );
}

function Incoming({ phone, call }: { phone: Phone; call: Call }) {
  return (
    <section class="card incoming" aria-label={`Incoming call from ${phone.name(call)}`}>
      <Who phone={phone} call={call} />
      <p class="state">{call.offersVideo ? "is calling with video" : "is calling"}</p>
      <div class={call.offersVideo ? "actions" : "actions wide"}>
        <Round icon="end" tone="stop" label="Reject" text="Reject" shortcut="R" onClick={() => call.reject()} />
        <Round icon="call" tone="go" label="Answer" text="Answer" shortcut="A" onClick={() => void phone.answer(call)} />
        {call.offersVideo && <Round icon="camera" tone="go" label="Answer with video" text="With video" shortcut="V" onClick={() => void phone.answer(call, true)} />}
      </div>
    </section>
  );
}

function Active({ phone, call }: { phone: Phone; call: Call }) {
  const [drawer, setDrawer] = useState<"keypad" | "transfer" | undefined>();
  const toggle = (name: "keypad" | "transfer") => setDrawer(drawer === name ? undefined : name);
  const up = call.state === "active" || call.state === "reconnecting";
  const two = phone.calls.some((other) => other !== call && other.state === "active");
  return (
    <section class={`card active ${call.state}`} aria-label={`Call with ${phone.name(call)}`}>
      <Pictures call={call} name={phone.name(call)} />
      <Who phone={phone} call={call} />
      <p class="state">
        <span>{stateText(call)}</span>
        {call.muted && <span class="tag">muted</span>} <time>{talked(call)}</time>
      </p>
      <div class="actions">
        <Round icon={call.muted ? "muted" : "microphone"} label="Mute" text="Mute" pressed={call.muted} shortcut="M" onClick={() => phone.toggleMute(call)} />
        <Round icon={call.localStream ? "camera" : "camera_off"} label="Camera" text="Camera" pressed={call.localStream !== undefined} disabled={call.state !== "active" || phone.isTurning(call)} shortcut="V" onClick={() => void phone.toggleCamera(call)} />
        <Round icon={call.held ? "play" : "pause"} label="Hold" text="Hold" pressed={call.held} disabled={call.state !== "active"} shortcut="H" onClick={() => void phone.toggleHold(call)} />
        <Round icon="keypad" label="Keypad" text="Keypad" pressed={drawer === "keypad"} disabled={!up && call.state !== "ringing"} shortcut="K" onClick={() => toggle("keypad")} />
        {two ? (
          <Round icon="swap" label="Swap calls" text="Swap" disabled={!up} shortcut="S" onClick={() => void phone.swap()} />
        ) : (
          <Round icon="transfer" label="Transfer" text="Transfer" pressed={drawer === "transfer"} disabled={!up} shortcut="T" onClick={() => toggle("transfer")} />
        )}
        <Round icon="end" tone="stop" label="Hang up" text="Hang up" shortcut="E" onClick={() => call.hangup()} />
      </div>
      {drawer === "keypad" && <Digits phone={phone} call={call} />}
      {drawer === "transfer" && !two && <Transfer phone={phone} call={call} />}
      {up && <Quality readings={phone.readings.get(call) ?? []} grades={call.grades} showsPicture={call.remoteVideo} />}
    </section>
  );
}

function Digits({ phone, call }: { phone: Phone; call: Call }) {
  const [pressed, setPressed] = useState("");
  const press = (key: string) => {
    phone.press(key, call);
    setPressed((pressed + key).slice(-20));
  };
  return (
    <div class="drawer">
      <output class="digits" aria-label="Keys pressed">{pressed || " "}</output>
      <Keypad label="Keys for this call" onKey={press} />
    </div>
  );
}

function Transfer({ phone, call }: { phone: Phone; call: Call }) {
  const field = useRef<HTMLInputElement>(null);
  const [progress, setProgress] = useState("");
  useLayoutEffect(() => field.current?.focus(), []);
  const send = (event: Event) => {
    event.preventDefault();
    setProgress("Transferring…");
    void phone.transfer(call, field.current?.value ?? "").then(() => setProgress(""));
  };
  return (
    <form class="drawer line" onSubmit={send} aria-label="Transfer">
      <input ref={field} aria-label="Transfer to" placeholder="Transfer to…" list="numbers" autocomplete="off" autocapitalize="none" spellcheck={false} required />
      <button type="submit" class="primary">Transfer</button>
      <p class="hint" role="status">{progress}</p>
    </form>
  );
}

function Waiting({ phone, call }: { phone: Phone; call: Call }) {
  const name = phone.name(call);
  return (
    <section class="card waiting" aria-label={`Other call with ${name}`}>
      <Face name={name} />
      <p>
        <b>{name}</b>
        <small>
          {stateText(call)} <time>{talked(call)}</time>
        </small>
      </p>
      <button type="button" onClick={() => void phone.talk(call)} disabled={call.state !== "active"}>
        <Icon name="swap" /> Talk
      </button>
      <button type="button" class="danger" aria-label={`Hang up ${name}`} title="Hang up" onClick={() => call.hangup()}>
        <Icon name="end" />
      </button>
    </section>
  );
}

/** Calls of this user on other devices, which can be brought here. */
export function Elsewhere({ phone }: { phone: Phone }) {
  const words: Record<string, string> = { browser: "in another browser", phone: "on a desk phone", app: "in an app" };
  return (
    <>
      {phone.elsewhere.map((call) => (
        <section class="card waiting elsewhere" key={call.gcid} aria-label="Call on another device">
          <span class="face" aria-hidden="true"><Icon name="device" /></span>
          <p>
            <b>{phone.name(call)}</b>
            <small>{words[call.device] ?? "on another device"}</small>
          </p>
          <button type="button" class="primary" onClick={() => phone.pull(call.gcid)}>Bring here</button>
        </section>
      ))}
    </>
  );
}
