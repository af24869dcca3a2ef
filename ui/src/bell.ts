// Ringing, ringback and key tones by Web Audio, and the system's notification of a call.

type Pattern = { tones: number[]; beats: readonly (readonly [at: number, length: number])[]; period: number; level: number };

const RING: Pattern = { tones: [523, 659, 784], beats: [[0, 0.18], [0.2, 0.18], [0.4, 0.35]], period: 2.4, level: 0.12 };
const RINGBACK: Pattern = { tones: [425], beats: [[0, 1]], period: 5, level: 0.05 };
const WAITING: Pattern = { tones: [425], beats: [[0, 0.2], [0.4, 0.2]], period: 5, level: 0.04 };
const PATTERNS = { ring: RING, ringback: RINGBACK, waiting: WAITING };

export type Sound = keyof typeof PATTERNS;

const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477];
const KEYS = "123456789*0#";

export class Bell {
  #context: AudioContext | undefined;
  #playing: Sound | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #notification: Notification | undefined;

  constructor() {
    // A browser lets a page sound only after the user has touched it.
    const wake = () => void this.#audio().resume();
    for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, wake, { once: true });
  }

  /** Plays a pattern until told otherwise. */
  play(sound: Sound | undefined, device = ""): void {
    if (sound === this.#playing) return;
    clearTimeout(this.#timer);
    this.#playing = sound;
    if (!sound) return;
    void (this.#audio() as { setSinkId?(id: string): Promise<void> }).setSinkId?.(device).catch(() => {});
    this.#round(PATTERNS[sound]);
  }

  /** The two tones of a key (ITU-T Q.23), for the one who presses it. */
  key(key: string): void {
    const at = KEYS.indexOf(key);
    if (at < 0) return;
    for (const tone of [ROWS[Math.floor(at / 3)]!, COLUMNS[at % 3]!]) this.#beep(tone, 0, 0.12, 0.05);
  }

  /** Tells of a call in the system's own way when the page is not in sight. */
  notify(name: string): void {
    if (!document.hidden || typeof Notification === "undefined" || Notification.permission !== "granted") return;
    this.#notification = new Notification(`${name} is calling`, {
      body: "Crosspoint phone",
      tag: "crosspoint-call",
      requireInteraction: true,
    });
    this.#notification.onclick = () => {
      window.focus();
      this.#notification?.close();
    };
  }

  quiet(): void {
    this.#notification?.close();
    this.#notification = undefined;
  }

  #round(pattern: Pattern): void {
    for (const [beat, [at, length]] of pattern.beats.entries()) {
      this.#beep(pattern.tones[beat % pattern.tones.length]!, at, length, pattern.level);
    }
    this.#timer = setTimeout(() => this.#round(pattern), 1000 * pattern.period);
  }

  #beep(frequency: number, after: number, length: number, level: number): void {
    const audio = this.#audio();
    if (audio.state !== "running") return;
    const start = audio.currentTime + after;
    const gain = new GainNode(audio, { gain: 0 });
    gain.gain.setTargetAtTime(level, start, 0.01);
    gain.gain.setTargetAtTime(0, start + length, 0.03);
    const tone = new OscillatorNode(audio, { frequency });
    tone.connect(gain).connect(audio.destination);
    tone.start(start);
    tone.stop(start + length + 0.3);
  }

  #audio(): AudioContext {
    return (this.#context ??= new AudioContext());
  }
}
