// A table that is searched, sorted, and longer than a page.
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";
import { Button, Empty, ErrorNote, Loading } from "./parts";
import { plural } from "./words";

export interface Column<T> {
  readonly name: string;
  /** What it is sorted and searched by. */
  readonly value: (row: T) => string | number | null | undefined;
  readonly cell?: (row: T) => ComponentChildren;
  readonly align?: "right";
  /** Left out where there is little room. */
  readonly minor?: boolean;
  readonly sortable?: false;
}

interface Props<T> {
  /** What the rows are, for people. */
  readonly name: string;
  readonly rows: readonly T[] | undefined;
  readonly columns: readonly Column<T>[];
  readonly keyOf: (row: T) => string;
  readonly hrefOf?: (row: T) => string;
  readonly error?: string;
  readonly empty: { readonly icon: IconName; readonly title: string; readonly text?: ComponentChildren };
  /** Which column is sorted by at first, and which way. */
  readonly sort?: readonly [string, "up" | "down"];
  readonly search?: boolean;
  readonly tools?: ComponentChildren;
  readonly actions?: (row: T) => ComponentChildren;
  /** How many there are in all, when not all of them came. */
  readonly total?: number;
}

const AT_ONCE = 100;

export function Table<T>({ name, rows, columns, keyOf, hrefOf, error, empty, sort, search = true, tools, actions, total }: Props<T>) {
  const [query, setQuery] = useState("");
  const [order, setOrder] = useState(sort);
  const [most, setMost] = useState(AT_ONCE);
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const slash = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, dialog");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      box.current?.focus();
    };
    addEventListener("keydown", slash);
    return () => removeEventListener("keydown", slash);
  }, []);
  const found = useMemo(() => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (row: T) => columns.map((column) => column.value(row) ?? "").join(" ").toLowerCase();
    const matching = (rows ?? []).filter((row) => words.length === 0 || words.every((word) => text(row).includes(word)));
    const by = columns.find((column) => column.name === order?.[0]);
    if (!by || !order) return matching;
    const sign = order[1] === "up" ? 1 : -1;
    return [...matching].sort((a, b) => sign * compare(by.value(a), by.value(b)));
  }, [rows, query, order, columns]);
  const turn = (column: string) => setOrder((now) => [column, now?.[0] === column && now[1] === "up" ? "down" : "up"]);
  const shown = found.slice(0, most);
  return (
    <section class="card flush" aria-label={name}>
      {(search || tools) && (
        <div class="table-tools">
          {search && (
            <label class="search">
              <Icon name="search" />
              <input ref={box} type="search" aria-label={`Search ${name}`} placeholder={`Search ${name}`} value={query} onInput={(event) => setQuery(event.currentTarget.value)} />
              <kbd aria-hidden="true">/</kbd>
            </label>
          )}
          {tools}
          <span class="table-count" role="status">{rows && (query ? `${found.length} of ${plural(rows.length, "row")}` : plural(Math.max(total ?? 0, rows.length), "row"))}</span>
        </div>
      )}
      <ErrorNote error={error} />
      {!rows ? (
        !error && <Loading />
      ) : found.length === 0 ? (
        query ? <Empty icon="search" title={`Nothing is found for “${query}”`} /> : <Empty icon={empty.icon} title={empty.title}>{empty.text}</Empty>
      ) : (
        <div class="table-scroll">
          <table>
            <thead>
              <tr>
                {columns.map((column) => {
                  const direction = order?.[0] === column.name ? order[1] : undefined;
                  return (
                    <th key={column.name} scope="col" class={classOf(column)} aria-sort={direction && (direction === "up" ? "ascending" : "descending")}>
                      {column.sortable === false ? column.name : (
                        <button type="button" onClick={() => turn(column.name)}>
                          {column.name}
                          {direction && <Icon name={direction} />}
                        </button>
                      )}
                    </th>
                  );
                })}
                {actions && <th scope="col" class="actions"><span class="unseen">Actions</span></th>}
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <tr key={keyOf(row)} class={hrefOf && "linked"} onClick={(event) => open(event, hrefOf?.(row))}>
                  {columns.map((column, index) => {
                    const cell = column.cell ? column.cell(row) : column.value(row) ?? <span class="soft">–</span>;
                    return (
                      <td key={column.name} class={classOf(column)}>
                        {index === 0 && hrefOf ? <a href={hrefOf(row)}>{cell}</a> : cell}
                      </td>
                    );
                  })}
                  {actions && <td class="actions"><div>{actions(row)}</div></td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {found.length > most && (
        <div class="table-foot">
          <Button label={`Show ${Math.min(AT_ONCE, found.length - most)} more`} onClick={() => setMost(most + AT_ONCE)} />
        </div>
      )}
    </section>
  );
}

function classOf<T>(column: Column<T>): string {
  return [column.align ?? "", column.minor ? "minor" : ""].join(" ").trim();
}

function compare(a: string | number | null | undefined, b: string | number | null | undefined): number {
  if (a == null || b == null) return a == null ? (b == null ? 0 : -1) : 1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** A click anywhere in a row opens it, but not one on a button or a link in it. */
function open(event: MouseEvent, href: string | undefined) {
  const on = event.target as HTMLElement;
  if (href && !on.closest("a, button, input, audio, dialog") && !getSelection()?.toString()) location.hash = href;
}
