// How a call sounds: the score over the last minute as a line, and the figures behind it.
import type { QualityReport } from "@crosspoint/client";

const WIDTH = 240;
const HEIGHT = 44;
const POINTS = 60;

function word(mos: number | undefined): { text: string; grade: string } {
  if (mos === undefined) return { text: "Measuring…", grade: "unknown" };
  if (mos >= 4) return { text: "Excellent", grade: "good" };
  if (mos >= 3.6) return { text: "Good", grade: "good" };
  if (mos >= 3.1) return { text: "Fair", grade: "fair" };
  return { text: "Poor", grade: "poor" };
}

const figure = (value: number | undefined, unit: string, digits = 0) =>
  value === undefined ? "–" : `${value.toFixed(digits)} ${unit}`;

export function Quality({ readings }: { readings: readonly QualityReport[] }) {
  const last = readings.at(-1);
  const { text, grade } = word(last?.mos);
  const x = (i: number) => WIDTH - (readings.length - 1 - i) * (WIDTH / (POINTS - 1));
  const y = (mos: number) => HEIGHT - 3 - ((mos - 1) / 3.5) * (HEIGHT - 6);
  const points = readings.flatMap((r, i) => (r.mos === undefined ? [] : [`${x(i).toFixed(1)},${y(r.mos).toFixed(1)}`]));
  const [first, end] = [points[0]?.split(",")[0], points.at(-1)?.split(",")];
  return (
    <section class={`quality ${grade}`} aria-label="Quality">
      <p class="verdict">
        <span class="dot" aria-hidden="true" />
        {text}
        {last?.mos !== undefined && <small> {last.mos.toFixed(1)}</small>}
      </p>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Quality over the last minute: ${text}`} preserveAspectRatio="none">
        {[2, 3, 4].map((mos) => (
          <line key={mos} x1="0" x2={WIDTH} y1={y(mos)} y2={y(mos)} class="grid" />
        ))}
        {points.length > 1 && (
          <>
            <polygon class="area" points={`${first},${HEIGHT} ${points.join(" ")} ${end?.[0]},${HEIGHT}`} />
            <polyline class="line" points={points.join(" ")} />
          </>
        )}
      </svg>
      <dl>
        <div><dt>Loss</dt><dd>{figure(last?.lossIn, "%", 1)}</dd></div>
        <div><dt>Jitter</dt><dd>{figure(last?.jitter, "ms")}</dd></div>
        <div><dt>Round trip</dt><dd>{figure(last?.rtt, "ms")}</dd></div>
        <div><dt>Codec</dt><dd>{last?.codec ?? "–"}</dd></div>
      </dl>
    </section>
  );
}
