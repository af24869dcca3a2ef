// Settings, and the check before a call that matters.
import type { PreflightStep } from "@crosspoint/client";
import { useState } from "preact/hooks";
import type { Settings as Values } from "../book";
import type { Phone } from "../phone";
import { Icon, type IconName } from "./icons";

export function applyTheme(theme: Values["theme"]): void {
  document.documentElement.dataset.theme = theme;
}

export function Settings({ phone }: { phone: Phone }) {
  const [allowed, setAllowed] = useState(typeof Notification === "undefined" ? "denied" : Notification.permission);
  const nameless = phone.devices.every((device) => device.label === "");
  const theme = (chosen: Values["theme"]) => {
    phone.book.set({ theme: chosen });
    applyTheme(chosen);
    phone.changed();
  };
  return (
    <div class="settings">
      <h2>Sound and picture</h2>
      <Device phone={phone} kind="microphone" label="Microphone" of="audioinput" />
      <Device phone={phone} kind="camera" label="Camera" of="videoinput" />
      <Device phone={phone} kind="speaker" label="Speaker" of="audiooutput" />
      <Device phone={phone} kind="ringer" label="Ring on" of="audiooutput" />
      {nameless && (
        <button type="button" onClick={() => void phone.askForNames()}>Show all devices</button>
      )}
      <h2>Look</h2>
      <div class="segments" role="group" aria-label="Look">
        {(["auto", "light", "dark"] as const).map((name) => (
          <button key={name} type="button" aria-pressed={phone.book.settings.theme === name} onClick={() => theme(name)}>
            <Icon name={name} /> {{ auto: "System", light: "Light", dark: "Dark" }[name]}
          </button>
        ))}
      </div>
      <h2>Notifications</h2>
      {allowed === "granted" && <p class="hint">You are told of calls when this page is not in sight.</p>}
      {allowed === "denied" && <p class="hint">This browser does not let the page notify you.</p>}
      {allowed === "default" && (
        <button type="button" onClick={() => void Notification.requestPermission().then(setAllowed)}>
          Notify me of calls
        </button>
      )}
      <h2>Account</h2>
      <p class="hint">{phone.account?.identifier.replace(/^sip:/, "")}</p>
      <button type="button" onClick={() => phone.signOut()}><Icon name="leave" /> Sign out</button>
    </div>
  );
}

function Device({ phone, kind, label, of }: { phone: Phone; kind: "microphone" | "camera" | "speaker" | "ringer"; label: string; of: MediaDeviceKind }) {
  const devices = phone.devices.filter((device) => device.kind === of && device.deviceId !== "" && device.deviceId !== "default");
  const chosen = phone.book.settings[kind];
  return (
    <label class="field">
      {label}
      <select value={chosen} onChange={(event) => void phone.choose(kind, event.currentTarget.value)}>
        <option value="">System default</option>
        {devices.map((device, i) => (
          <option key={device.deviceId} value={device.deviceId}>{device.label || `${label} ${i + 1}`}</option>
        ))}
        {chosen !== "" && !devices.some((d) => d.deviceId === chosen) && <option value={chosen}>Not plugged in</option>}
      </select>
    </label>
  );
}

const STEPS: readonly [PreflightStep["name"], string][] = [
  ["microphone", "Microphone"],
  ["relay", "Relay"],
  ["network", "Way to the gateway"],
  ["sound", "Sound there and back"],
];

const FIGURES: Record<string, (value: number | string) => string> = {
  rttMs: (v) => `round trip ${v} ms`,
  jitterMs: (v) => `jitter ${v} ms`,
  lossPercent: (v) => `loss ${v} %`,
  mos: (v) => `score ${v} of 4.5`,
  path: (v) => `path ${v}`,
  connectedAfterMs: (v) => `connected after ${v} ms`,
  roundTripMs: (v) => `there and back ${v} ms`,
};

export function Check({ phone }: { phone: Phone }) {
  const { running, steps, report } = phone.check;
  const pending = STEPS.find(([name]) => !steps.some((step) => step.name === name))?.[0];
  const words = { passed: "Everything works.", warning: "It works, with a remark.", failed: "Something does not work.", skipped: "Nothing was tested." };
  return (
    <div class="check">
      <p class="hint">Calls the echo number, plays a short tone and waits for it to come back. It takes a few seconds.</p>
      <button type="button" class="primary big" disabled={running} onClick={() => void phone.runCheck()}>
        <Icon name="check" /> {running ? "Checking…" : report ? "Check again" : "Check this phone"}
      </button>
      {(running || report) && (
        <ol class="steps" aria-label="Results">
          {STEPS.map(([name, title]) => (
            <Step key={name} title={title} step={steps.find((step) => step.name === name)} running={running && name === pending} />
          ))}
        </ol>
      )}
      <p class={`verdict ${report?.verdict ?? ""}`} role="status">{report ? words[report.verdict] : ""}</p>
    </div>
  );
}

function Step({ title, step, running }: { title: string; step: PreflightStep | undefined; running: boolean }) {
  const figures = Object.entries(step?.figures ?? {}).flatMap(([name, value]) => FIGURES[name]?.(value) ?? []);
  const icon: IconName = step?.verdict ?? "skipped";
  return (
    <li class={step?.verdict ?? (running ? "running" : "pending")}>
      <span class="badge" aria-label={step?.verdict ?? ""}>{running ? <span class="spinner" /> : <Icon name={icon} />}</span>
      <div>
        <b>{title}</b>
        <p>{step?.text ?? (running ? "Testing…" : "")}</p>
        {figures.length > 0 && <small>{figures.join(" · ")}</small>}
      </div>
    </li>
  );
}
