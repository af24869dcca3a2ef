// Lines over time, drawn by hand: a few points, no library.
import { useRef, useState } from "preact/hooks";

export interface Point {
  /** Unix milliseconds. */
  readonly at: number;
  readonly value: number | null;
}

interface Props {
  readonly label: string;
  readonly points: readonly Point[];
  /** How long the chart goes back at most. */
  readonly span: number;
  readonly format: (value: number) => string;
  /** The scale; from nothing to a round number above the largest when missing. */
  readonly low?: number;
  readonly high?: number;
  readonly tone?: "green" | "blue" | "amber" | "violet" | "red";
  readonly height?: number;
}

const WIDTH = 600;
const SHORTEST = 30_000;

export function Chart({ label, points, span, format, low = 0, high, tone = "green", height = 96 }: Props) {
  const [hover, setHover] = useState<Point>();
  const frame = useRef<HTMLDivElement>(null);
  const end = points.at(-1)?.at ?? Date.now();
  // A young series fills its chart, too.
  const width = Math.min(span, Math.max(SHORTEST, end - (points[0]?.at ?? end)));
  const start = end - width;
  const seen = points.filter((point) => point.at >= start);
  const values = seen.flatMap((point) => (point.value === null ? [] : [point.value]));
  const top = high ?? roundAbove(Math.max(...values, 0));
  const x = (at: number) => ((at - start) / width) * WIDTH;
  const y = (value: number) => height - 2 - ((Math.min(Math.max(value, low), top) - low) / (top - low)) * (height - 6);
  const lines = runs(seen).map((run) => run.map((point) => `${x(point.at).toFixed(1)},${y(point.value!).toFixed(1)}`));
  const nearest = (event: PointerEvent) => {
    const box = frame.current?.getBoundingClientRect();
    if (!box) return;
    const at = start + ((event.clientX - box.left) / box.width) * width;
    const there = seen.filter((point) => point.value !== null);
    setHover(there.reduce<Point | undefined>((best, point) => (!best || Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best), undefined));
  };
  const last = values.at(-1);
  return (
    <div class={`chart ${tone}`} ref={frame} onPointerMove={nearest} onPointerLeave={() => setHover(undefined)}>
      <svg viewBox={`0 0 ${WIDTH} ${height}`} style={{ height: `${height}px` }} preserveAspectRatio="none" role="img" aria-label={`${label}: ${last === undefined ? "nothing yet" : format(last)}`}>
        {[0.25, 0.5, 0.75].map((part) => <line key={part} class="grid" x1="0" x2={WIDTH} y1={height * part} y2={height * part} />)}
        {lines.map((line, index) => (
          <g key={index}>
            <polygon points={`${line[0]!.split(",")[0]},${height} ${line.join(" ")} ${line.at(-1)!.split(",")[0]},${height}`} />
            <polyline points={line.join(" ")} />
          </g>
        ))}
        {hover && <line class="cross" x1={x(hover.at)} x2={x(hover.at)} y1="0" y2={height} />}
      </svg>
      <span class="chart-top">{format(top)}</span>
      {hover && (
        <span class="chart-tip" style={{ left: `${Math.min(Math.max((x(hover.at) / WIDTH) * 100, 8), 92)}%` }}>
          {format(hover.value!)} <small>{new Date(hover.at).toLocaleTimeString("en-GB")}</small>
        </span>
      )}
    </div>
  );
}

/** Points that follow each other without a gap. */
function runs(points: readonly Point[]): Point[][] {
  const found: Point[][] = [];
  let run: Point[] = [];
  for (const point of points) {
    if (point.value === null) {
      if (run.length > 1) found.push(run);
      run = [];
    } else {
      run.push(point);
    }
  }
  if (run.length > 1) found.push(run);
  return found;
}

/** A round number above: a scale that does not jump with every value. */
function roundAbove(value: number): number {
  if (value <= 0) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((factor) => factor * magnitude >= value * 1.1) ?? 20;
  return step * magnitude;
}
