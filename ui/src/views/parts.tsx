// Small pieces that several views use.
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icons";
import { initials } from "../words";

interface ButtonProps {
  icon: IconName;
  label: string;
  /** Under the icon; without it the label is for screen readers and a tooltip only. */
  text?: string;
  tone?: "go" | "stop" | "plain";
  pressed?: boolean;
  disabled?: boolean;
  shortcut?: string;
  onClick(): void;
}

/** A round button with an icon. */
export function Round({ icon, label, text, tone = "plain", pressed, disabled, shortcut, onClick }: ButtonProps) {
  return (
    <button
      type="button"
      class={`round ${tone}`}
      aria-label={label}
      aria-pressed={pressed}
      aria-keyshortcuts={shortcut}
      title={shortcut ? `${label} (${shortcut})` : label}
      disabled={disabled}
      onClick={onClick}
    >
      <span class="disc">
        <Icon name={icon} />
      </span>
      {text && <span class="caption">{text}</span>}
    </button>
  );
}

/** A colour of its own for each name, the same every time. */
export function Face({ name, large }: { name: string; large?: boolean }) {
  let hue = 7;
  for (const letter of name) hue = (hue * 31 + letter.charCodeAt(0)) % 360;
  return (
    <span class={large ? "face large" : "face"} style={{ "--hue": hue }} aria-hidden="true">
      {initials(name)}
    </span>
  );
}

export function Empty({ icon, children }: { icon: IconName; children: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <p>{children}</p>
    </div>
  );
}

const LETTERS: Record<string, string> = {
  2: "abc", 3: "def", 4: "ghi", 5: "jkl", 6: "mno", 7: "pqrs", 8: "tuv", 9: "wxyz", 0: "+",
};
const NAMES: Record<string, string> = { "*": "Star", "#": "Pound" };

export function Keypad({ label, onKey }: { label: string; onKey(key: string): void }) {
  return (
    <div class="keypad" role="group" aria-label={label}>
      {[..."123456789*0#"].map((key) => (
        <button key={key} type="button" class="key" aria-label={NAMES[key] ?? key} onClick={() => onKey(key)}>
          <b>{key}</b>
          <small aria-hidden="true">{LETTERS[key] ?? " "}</small>
        </button>
      ))}
    </div>
  );
}
