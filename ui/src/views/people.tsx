// Recent calls and contacts.
import { useState } from "preact/hooks";
import type { Recent } from "../book";
import type { Phone } from "../phone";
import { duration, whenText } from "../words";
import { Icon } from "./icons";
import { Empty, Face } from "./parts";

function kind({ direction, seconds, ended }: Recent): { icon: "missed" | "incoming" | "outgoing"; text: string } {
  if (direction === "outgoing") return { icon: "outgoing", text: "Outgoing" };
  if (seconds !== undefined) return { icon: "incoming", text: "Incoming" };
  if (ended === "declined") return { icon: "incoming", text: "Declined" };
  if (ended === "elsewhere") return { icon: "incoming", text: "Answered elsewhere" };
  return { icon: "missed", text: "Missed" };
}

export function Recents({ phone }: { phone: Phone }) {
  const { recents } = phone.book;
  if (recents.length === 0) return <Empty icon="recents">No calls yet.</Empty>;
  return (
    <>
      <ul class="list" aria-label="Recent calls">
        {recents.map((recent) => {
          const name = phone.book.name(recent.number) ?? recent.name;
          const { icon, text } = kind(recent);
          return (
            <li key={recent.at}>
              <button type="button" class="entry" onClick={() => phone.dial(recent.number)} aria-label={`Call ${name}. ${text}, ${whenText(recent.at)}`}>
                <Face name={name} />
                <span class="grow">
                  <b>{name}</b>
                  <small class={icon}>
                    <Icon name={icon} /> {text}
                    {recent.seconds !== undefined && ` · ${duration(recent.seconds)}`}
                  </small>
                </span>
                <time dateTime={new Date(recent.at).toISOString()}>{whenText(recent.at)}</time>
              </button>
              {!phone.book.name(recent.number) && <Keep phone={phone} recent={recent} />}
            </li>
          );
        })}
      </ul>
      <p class="foot">
        <button type="button" class="link" onClick={() => { phone.book.forget(); phone.changed(); }}>Clear recent calls</button>
      </p>
    </>
  );
}

function Keep({ phone, recent }: { phone: Phone; recent: Recent }) {
  const keep = () => {
    phone.book.keep({ name: recent.name, number: recent.number });
    phone.say(`${recent.name} is a contact now`);
  };
  return (
    <button type="button" class="plain" aria-label={`Add ${recent.name} to contacts`} title="Add to contacts" onClick={keep}>
      <Icon name="add" />
    </button>
  );
}

export function Contacts({ phone }: { phone: Phone }) {
  const [name, setName] = useState("");
  const [number, setNumber] = useState("");
  const add = (event: Event) => {
    event.preventDefault();
    phone.book.keep({ name: name.trim() || number.trim(), number: number.trim() });
    setName("");
    setNumber("");
    phone.changed();
  };
  return (
    <>
      <form class="line new-contact" onSubmit={add} aria-label="New contact">
        <input aria-label="Name" placeholder="Name" value={name} onInput={(e) => setName(e.currentTarget.value)} />
        <input aria-label="Number" placeholder="Number" required autocapitalize="none" value={number} onInput={(e) => setNumber(e.currentTarget.value)} />
        <button type="submit" class="primary" aria-label="Add contact" title="Add contact"><Icon name="add" /></button>
      </form>
      {phone.book.contacts.length === 0 && <Empty icon="contacts">Nobody here yet. Add a name and a number above.</Empty>}
      <ul class="list" aria-label="Contacts">
        {phone.book.contacts.map((contact) => (
          <li key={contact.number}>
            <button type="button" class="entry" aria-label={`Call ${contact.name}`} onClick={() => phone.dial(contact.number)}>
              <Face name={contact.name} />
              <span class="grow">
                <b>{contact.name}</b>
                <small>{contact.number}</small>
              </span>
            </button>
            <button type="button" class="plain" aria-label={`Remove ${contact.name}`} title="Remove" onClick={() => { phone.book.drop(contact.number); phone.changed(); }}>
              <Icon name="remove" />
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}
