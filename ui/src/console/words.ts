// Times, lengths and figures in words.
const two = (n: number) => String(n).padStart(2, "0");

/** `1:05`, `1:02:05`, `3 d 4 h`. */
export function lasting(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return `${d} d ${h} h`;
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

/** The hour today, and the day as well before that. */
export function moment(ms: number): string {
  const at = new Date(ms);
  const hour = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? hour : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${hour}`;
}

export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) [n, unit] = [n / 1000, unit + 1];
  return `${n < 10 && unit > 0 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

export function count(n: number): string {
  return n.toLocaleString("en-GB");
}

/** `no_answer` as people say it. */
export function phrase(word: string): string {
  return word.replaceAll("_", " ");
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

export type Grade = "good" | "fair" | "poor" | "unknown";

/** What a mean opinion score means to a listener. */
export function grade(mos: number | null | undefined): { text: string; grade: Grade } {
  if (mos == null) return { text: "–", grade: "unknown" };
  if (mos >= 4) return { text: "Excellent", grade: "good" };
  if (mos >= 3.6) return { text: "Good", grade: "good" };
  if (mos >= 3.1) return { text: "Fair", grade: "fair" };
  return { text: "Poor", grade: "poor" };
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
