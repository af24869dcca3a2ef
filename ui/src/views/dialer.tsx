// Dialling: a field that takes numbers and names, and keys for fingers.
import { useRef, useState } from "preact/hooks";
import type { Phone } from "../phone";
import { Icon } from "./icons";
import { Keypad } from "./parts";

const SERVICES = [["600", "Echo"], ["601", "Tone"], ["602", "Announcement"]] as const;

export function Dialer({ phone }: { phone: Phone }) {
  const [number, setNumber] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const call = (target: string, video = false) => {
    phone.dial(target, video);
    setNumber("");
  };
  const submit = (event: Event) => {
    event.preventDefault();
    // An empty field brings the last number back, as desk phones do.
    if (number.trim() !== "") call(number);
    else setNumber(phone.book.recents.find((recent) => recent.direction === "outgoing")?.number ?? "");
  };
  const press = (key: string) => {
    phone.bell.key(key);
    setNumber(number + key);
  };
  return (
    <form class="dialer" onSubmit={submit}>
      <div class="dial-field">
        <input
          id="number"
          ref={field}
          type="text"
          aria-label="Number or name"
          placeholder="Number or name"
          aria-keyshortcuts="/"
          list="numbers"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          enterkeyhint="go"
          value={number}
          onInput={(event) => setNumber(event.currentTarget.value)}
        />
        {number !== "" && (
          <button type="button" class="plain" aria-label="Erase" title="Erase" onClick={() => { setNumber(number.slice(0, -1)); field.current?.focus(); }}>
            <Icon name="erase" />
          </button>
        )}
      </div>
      <Keypad label="Number keys" onKey={press} />
      <div class="call-line">
        <button type="submit" class="primary big">
          <Icon name="call" /> Call
        </button>
        <button type="button" class="big" aria-label="Call with video" title="Call with video" disabled={number.trim() === ""} onClick={() => call(number, true)}>
          <Icon name="camera" />
        </button>
      </div>
      <p class="services">
        {SERVICES.map(([service, name]) => (
          <button key={service} type="button" class="chip" onClick={() => call(service)}>
            <b>{service}</b> {name}
          </button>
        ))}
      </p>
    </form>
  );
}
