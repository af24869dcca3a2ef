// The keyboard: every control can be reached by Tab, and the usual ones by one key.
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";
import type { Phone } from "../phone";
import type { Tab } from "./app";

const SHORTCUTS = [
  ["/", "Dial"],
  ["A", "Answer"],
  ["R", "Reject"],
  ["E", "Hang up"],
  ["M", "Mute"],
  ["V", "Camera on and off; answer with video"],
  ["F", "Picture on the whole screen"],
  ["H", "Hold"],
  ["S", "Swap two calls"],
  ["0–9 * #", "Keys in a call"],
  ["?", "This list"],
] as const;

export function useShortcuts(phone: Phone, show: (tab: Tab) => void, help: () => void): void {
  useEffect(() => {
    const act = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = event.target as HTMLElement;
      if (at.matches("input, select, textarea") || at.closest("dialog")) return;
      if (run(event.key)) event.preventDefault();
    };
    const run = (key: string): boolean => {
      const { incoming, focus } = phone;
      switch (key.toLowerCase()) {
        case "/":
          show("dial");
          setTimeout(() => document.getElementById("number")?.focus());
          return true;
        case "a":
          void phone.answer();
          return incoming !== undefined;
        case "r":
          incoming?.reject();
          return incoming !== undefined;
        case "e":
          focus?.hangup();
          return focus !== undefined;
        case "m":
          phone.toggleMute();
          return focus !== undefined;
        case "v":
          if (incoming) void phone.answer(incoming, true);
          else void phone.toggleCamera();
          return (incoming ?? focus) !== undefined;
        case "f":
          return press("Full screen");
        case "h":
          void phone.toggleHold();
          return focus !== undefined;
        case "s":
          void phone.swap();
          return focus !== undefined;
        case "k":
          return press("Keypad");
        case "t":
          return press("Transfer");
        case "?":
          help();
          return true;
      }
      if (focus && /^[0-9*#]$/.test(key)) phone.press(key);
      return focus !== undefined && /^[0-9*#]$/.test(key);
    };
    addEventListener("keydown", act);
    return () => removeEventListener("keydown", act);
  }, [phone]);
}

/** Presses a button of the call that has the user's ear. */
function press(label: string): boolean {
  const button = document.querySelector<HTMLButtonElement>(`.active [aria-label="${label}"]`);
  button?.click();
  return button !== null;
}

export function Help({ dialog }: { dialog: RefObject<HTMLDialogElement> }) {
  return (
    <dialog ref={dialog} aria-labelledby="shortcuts-title">
      <h2 id="shortcuts-title">Keyboard shortcuts</h2>
      <dl class="shortcuts">
        {SHORTCUTS.map(([key, what]) => (
          <div key={key}>
            <dt><kbd>{key}</kbd></dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog"><button type="submit" class="primary">Close</button></form>
    </dialog>
  );
}
