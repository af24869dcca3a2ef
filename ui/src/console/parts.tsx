// Small pieces that every page uses.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";
import { useAction } from "./hooks";
import { grade, moment, type Grade } from "./words";

interface PageProps {
  title: string;
  /** What this is, in a line. */
  about?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

/** A page with its heading. */
export function Page({ title, about, actions, children }: PageProps) {
  return (
    <>
      <header class="page-head">
        <div>
          <h1>{title}</h1>
          {about && <p class="about">{about}</p>}
        </div>
        {actions && <div class="page-actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, actions, children, flush }: { title?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren; flush?: boolean }) {
  return (
    <section class={flush ? "card flush" : "card"}>
      {(title || actions) && (
        <div class="card-head">
          {title && <h2>{title}</h2>}
          {actions}
        </div>
      )}
      {children}
    </section>
  );
}

interface ButtonProps {
  icon?: IconName;
  label: string;
  tone?: "plain" | "primary" | "danger" | "quiet";
  /** The icon alone; the label is for screen readers and a tooltip. */
  iconOnly?: boolean;
  busy?: boolean;
  disabled?: boolean;
  type?: "button" | "submit";
  onClick?(event: MouseEvent): void;
}

export function Button({ icon, label, tone = "plain", iconOnly, busy, disabled, type = "button", onClick }: ButtonProps) {
  return (
    <button type={type} class={`button ${tone}${iconOnly ? " icon-only" : ""}`} aria-label={iconOnly ? label : undefined} title={iconOnly ? label : undefined} disabled={disabled || busy} aria-busy={busy} onClick={onClick}>
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {!iconOnly && <span>{label}</span>}
    </button>
  );
}

export type Tone = "good" | "fair" | "poor" | "unknown" | "info";

/** A word on a coloured ground. */
export function Badge({ tone, children, title }: { tone: Tone; children: ComponentChildren; title?: string }) {
  return <span class={`badge ${tone}`} title={title}>{children}</span>;
}

export function Dot({ tone, pulse }: { tone: Tone; pulse?: boolean }) {
  return <span class={`dot ${tone}${pulse ? " pulse" : ""}`} aria-hidden="true" />;
}

/** How a side of a call sounds. */
export function Score({ mos, silent }: { mos: number | null | undefined; silent?: boolean }) {
  if (silent) return <Badge tone="poor" title="Nothing comes from this side">silent</Badge>;
  const { text, grade: tone } = grade(mos);
  if (mos == null) return <span class="soft">–</span>;
  return <Badge tone={tone as Grade} title={text}>{mos.toFixed(1)}</Badge>;
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-icon"><Icon name={icon} /></span>
      <h3>{title}</h3>
      {children && <p>{children}</p>}
    </div>
  );
}

/** What went wrong. What was known before is still shown beside it. */
export function ErrorNote({ error }: { error: string | undefined }) {
  if (!error) return null;
  return (
    <p class="error-note" role="alert">
      <Icon name="warning" />
      <span>{error}</span>
    </p>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="spinner" aria-hidden="true" /> Loading…
    </div>
  );
}

/** A time, exact on hover. */
export function At({ ms }: { ms: number | null | undefined }) {
  if (ms == null) return <span class="soft">–</span>;
  return <time dateTime={new Date(ms).toISOString()} title={new Date(ms).toLocaleString()}>{moment(ms)}</time>;
}

interface DialogProps {
  title: string;
  open: boolean;
  onClose(): void;
  children: ComponentChildren;
}

/** A dialogue over the page, closed by Escape. */
export function Dialog({ title, open, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const it = dialog.current;
    if (!it) return;
    if (open && !it.open) it.showModal();
    if (!open && it.open) it.close();
  }, [open]);
  return (
    <dialog ref={dialog} aria-label={title} onClose={onClose} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      {open && (
        <div class="dialog">
          <div class="dialog-head">
            <h2>{title}</h2>
            <Button icon="close" label="Close" tone="quiet" iconOnly onClick={() => dialog.current?.close()} />
          </div>
          {children}
        </div>
      )}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  /** What happens then. */
  children: ComponentChildren;
  verb: string;
  tone?: "danger" | "primary";
  open: boolean;
  onClose(): void;
  act(): Promise<unknown>;
}

/** Asks before something that cannot be undone. */
export function Confirm({ title, children, verb, tone = "danger", open, onClose, act }: ConfirmProps) {
  const action = useAction();
  const close = () => {
    action.clear();
    onClose();
  };
  return (
    <Dialog title={title} open={open} onClose={close}>
      <p class="dialog-text">{children}</p>
      <ErrorNote error={action.error} />
      <div class="dialog-foot">
        <Button label="Cancel" onClick={close} />
        <Button label={verb} tone={tone} busy={action.busy} onClick={async () => (await action.run(act)) && close()} />
      </div>
    </Dialog>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput(value: string): void;
  type?: string;
  hint?: ComponentChildren;
  placeholder?: string;
  required?: boolean;
  autoFocus?: boolean;
  autoComplete?: string;
  minLength?: number;
}

export function Field({ label, value, onInput, type = "text", hint, placeholder, required, autoFocus, autoComplete = "off", minLength }: FieldProps) {
  const input = useRef<HTMLInputElement>(null);
  // Before anybody can have begun to write elsewhere, whose letters would go here.
  useLayoutEffect(() => {
    if (autoFocus) input.current?.focus();
  }, []);
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input id={id} aria-describedby={hint ? `${id}-hint` : undefined} ref={input} type={type} value={value} placeholder={placeholder} required={required} autofocus={autoFocus} minLength={minLength} autoComplete={autoComplete} spellcheck={false} onInput={(event) => onInput(event.currentTarget.value)} />
      {hint && <small id={`${id}-hint`}>{hint}</small>}
    </div>
  );
}

export function Select({ label, value, options, onChange }: { label: string; value: string; options: readonly (readonly [string, string])[]; onChange(value: string): void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
      </select>
    </div>
  );
}

/** One name with its value, beside each other. */
export function Facts({ items }: { items: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A secret that is shown once, with a way to copy it. */
export function Secret({ value }: { value: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(value).catch(() => {});
    setCopied(true);
  };
  return (
    <p class="secret">
      <code>{value}</code>
      <Button label={copied ? "Copied" : "Copy"} onClick={copy} />
    </p>
  );
}
