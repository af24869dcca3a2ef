// How a call sounds: the score over the last minute as a line, and the figures behind it.
import type { QualityReport, SideGrade } from "@crosspoint/client";

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

/** What a person should know of a side that does not do well. */
function remark({ near, far }: Grades): string | undefined {
  if (near?.grade === "silent") return "The others do not hear you";
  if (far?.grade === "silent") return "Nothing is heard from the other side";
  if (near?.grade === "poor") return "The others hear you badly";
  if (far?.grade === "poor") return "The other side has a poor connection";
  return undefined;
}

interface Grades {
  readonly near: SideGrade | undefined;
  readonly far: SideGrade | undefined;
}

export function Quality({ readings, grades, showsPicture }: { readings: readonly QualityReport[]; grades: Grades; showsPicture: boolean }) {
  const warning = remark(grades);
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
      {warning && <p class="remark" role="status">{warning}</p>}
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
        {showsPicture && last?.video?.in.width !== undefined && <div><dt>Picture</dt><dd>{last.video.in.width} × {last.video.in.height}</dd></div>}
      </dl>
    </section>
  );
}
