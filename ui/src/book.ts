// Contacts, recent calls and settings, in this browser only.

export interface Contact {
  name: string;
  number: string;
}

export interface Recent {
  number: string;
  name: string;
  direction: "incoming" | "outgoing";
  at: number;
  /** Talked, in seconds; undefined when nobody answered. */
  seconds?: number;
  /** Why it was not answered here, where that was no oversight. */
  ended?: "declined" | "elsewhere";
}

export interface Settings {
  theme: "auto" | "light" | "dark";
  microphone: string;
  camera: string;
  speaker: string;
  ringer: string;
  user: string;
}

const DEFAULTS: Settings = { theme: "auto", microphone: "", camera: "", speaker: "", ringer: "", user: "" };

/** As many as anybody scrolls through. */
const RECENTS_MAX = 100;

function read<Value>(key: string, fallback: Value): Value {
  try {
    return (JSON.parse(localStorage.getItem(`crosspoint.${key}`) ?? "null") as Value | null) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(key: string, value: unknown): void {
  try {
    localStorage.setItem(`crosspoint.${key}`, JSON.stringify(value));
  } catch {
    // A full or forbidden storage costs the memory, not the call.
  }
}

export class Book {
  settings: Settings = { ...DEFAULTS, ...read<Partial<Settings>>("settings", {}) };
  contacts: Contact[] = read("contacts", []);
  recents: Recent[] = read("recents", []);

  set(change: Partial<Settings>): void {
    this.settings = { ...this.settings, ...change };
    write("settings", this.settings);
  }

  /** The name that the user has given to a number. */
  name(number: string): string | undefined {
    return this.contacts.find((contact) => contact.number === number)?.name;
  }

  /** Adds a contact, or renames the one with this number. */
  keep(contact: Contact): void {
    const others = this.contacts.filter((c) => c.number !== contact.number);
    this.contacts = [...others, contact].sort((a, b) => a.name.localeCompare(b.name));
    write("contacts", this.contacts);
  }

  drop(number: string): void {
    this.contacts = this.contacts.filter((contact) => contact.number !== number);
    write("contacts", this.contacts);
  }

  note(recent: Recent): void {
    this.recents = [recent, ...this.recents].slice(0, RECENTS_MAX);
    write("recents", this.recents);
  }

  forget(): void {
    this.recents = [];
    write("recents", this.recents);
  }
}
