// The file that the gateway was configured by, and what would be wrong with another one.
import { useEffect, useRef, useState } from "preact/hooks";
import { useAction, useApi } from "../hooks";
import { Icon } from "../icons";
import { Badge, Button, Card, Confirm, Empty, ErrorNote, Loading, Page } from "../parts";
import { plural } from "../words";

interface Problem {
  readonly line: number;
  readonly column: number;
  readonly key: string;
  readonly message: string;
  readonly remedy: string;
}

interface Checked {
  readonly ok: boolean;
  readonly errors: readonly Problem[];
}

/** What has changed by being applied. */
interface Applied {
  readonly changed: readonly string[];
  readonly needs_restart: readonly string[];
}

export function Configuration() {
  const api = useApi();
  const loading = useAction();
  const checking = useAction();
  const [file, setFile] = useState<{ file: string | null; text: string }>();
  const [text, setText] = useState("");
  const [checked, setChecked] = useState<Checked>();
  const [asking, setAsking] = useState(false);
  const [saved, setSaved] = useState<Applied>();
  const area = useRef<HTMLTextAreaElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const load = () => loading.run(async () => {
    const found = await api.get<{ file: string | null; text: string }>("/configuration");
    setFile(found);
    setText(found.text);
    setChecked(undefined);
    setSaved(undefined);
  });
  useEffect(() => void load(), []);
  const apply = () => checking.run(async () => {
    const problems = await api.send<Checked>("POST", "/configuration/check", { text });
    setChecked(problems);
    if (!problems.ok) return;
    const applied = await api.send<Applied>("PUT", "/configuration", { text });
    setFile({ file: file?.file ?? null, text });
    setSaved(applied);
  });
  const check = () => checking.run(async () => setChecked(await api.send<Checked>("POST", "/configuration/check", { text })));
  const go = ({ line }: Problem) => {
    const it = area.current;
    if (!it) return;
    const lines = text.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    it.focus();
    it.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    it.scrollTop = Math.max(0, (line - 6) * LINE);
  };
  const count = text.split("\n").length;
  const wrong = new Set(checked?.errors.map((problem) => problem.line));
  return (
    <Page
      title="Configuration"
      about={file?.file ? <code>{file.file}</code> : "What the gateway was started with."}
      actions={
        <>
          <Button label="Show the file again" onClick={() => void load()} busy={loading.busy} />
          <Button icon="check" label="Check" onClick={() => void check()} busy={checking.busy} />
          {file?.file && <Button label="Save and apply" tone="primary" onClick={() => setAsking(true)} disabled={text === file.text || checking.busy} />}
        </>
      }
    >
      <ErrorNote error={loading.error ?? checking.error} />
      {!file ? !loading.error && <Loading /> : (
        <>
          {file.file === null && <Card><Empty icon="configuration" title="There is no file">Everything is as it is by default. You may check a text here all the same.</Empty></Card>}
          <section class={`card flush editor${checked && !checked.ok ? " wrong" : ""}`} aria-label="Text">
            <div class="editor-bar">
              <span class="soft">{plural(count, "line")} · secrets are not shown: <code>"(kept)"</code> means what is there now</span>
              {text !== file.text && <Badge tone="info">not saved</Badge>}
            </div>
            <div class="editor-body">
              <div class="gutter" ref={gutter} aria-hidden="true">
                {Array.from({ length: count }, (_, index) => <span key={index} class={wrong.has(index + 1) ? "wrong" : undefined}>{index + 1}</span>)}
              </div>
              <textarea
                ref={area}
                aria-label="Configuration"
                spellcheck={false}
                autocomplete="off"
                wrap="off"
                value={text}
                onInput={(event) => { setText(event.currentTarget.value); setChecked(undefined); setSaved(undefined); }}
                onScroll={(event) => { if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop; }}
              />
            </div>
          </section>
          {saved && (
            <p class="ok-note" role="status">
              <Icon name="check" />
              <span>
                Saved. {saved.changed.length > 0 ? `Applies now: ${saved.changed.join(", ")}.` : "Nothing that is in use has changed."}
                {saved.needs_restart.length > 0 && ` Needs a restart: ${saved.needs_restart.join(", ")}.`}
              </span>
            </p>
          )}
          {checked && !saved && (checked.ok ? (
            <p class="ok-note" role="status"><Icon name="check" /> Nothing is wrong with this text.</p>
          ) : (
            <Card title={plural(checked.errors.length, "problem")}>
              <ul class="problems">
                {checked.errors.map((problem, index) => (
                  <li key={index}>
                    <button type="button" onClick={() => go(problem)}>
                      <Badge tone="poor">line {problem.line}</Badge>
                      <span>
                        {problem.key && <code>{problem.key}</code>} {problem.message}
                        <small>{problem.remedy}</small>
                      </span>
                    </button>
                  </li>
                ))}
              </ul>
            </Card>
          ))}
        </>
      )}
      <Confirm title="Save and apply?" verb="Save and apply" tone="primary" open={asking} onClose={() => setAsking(false)} act={async () => { await apply(); }}>
        <code>{file?.file}</code> is written, and the gateway goes by it at once. Running calls go on. When something is wrong, nothing changes.
      </Confirm>
    </Page>
  );
}

/** Pixels, as in the style. */
const LINE = 20;
