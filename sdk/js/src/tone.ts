// A tone to send and an ear to find it again.

/** The share of a signal's energy that lies at one frequency (Goertzel's algorithm), 0 to 1. @internal */
export function toneShare(samples: Float32Array, rate: number, frequency: number): number {
  const coefficient = 2 * Math.cos((2 * Math.PI * frequency) / rate);
  let before = 0;
  let last = 0;
  let energy = 0;
  for (const sample of samples) {
    const next = sample + coefficient * last - before;
    before = last;
    last = next;
    energy += sample * sample;
  }
  if (energy < SILENCE * samples.length) return 0;
  const power = last * last + before * before - coefficient * last * before;
  return (2 * power) / (samples.length * energy);
}

/** A source of sound for a call: silent until it plays its tone. @internal */
export class Whistle {
  readonly track: MediaStreamTrack;
  readonly #context: AudioContext;
  readonly #oscillator: OscillatorNode;
  readonly #gain: GainNode;

  constructor(context: AudioContext, frequency: number) {
    this.#context = context;
    this.#oscillator = new OscillatorNode(context, { frequency });
    this.#gain = new GainNode(context, { gain: 0 });
    const out = new MediaStreamAudioDestinationNode(context);
    this.#oscillator.connect(this.#gain).connect(out);
    this.#oscillator.start();
    this.track = out.stream.getAudioTracks()[0]!;
  }

  play(on: boolean): void {
    this.#gain.gain.setValueAtTime(on ? 0.4 : 0, this.#context.currentTime);
  }

  stop(): void {
    this.#oscillator.stop();
    this.track.stop();
  }
}

/** Listens to a stream. @internal */
export class Ear {
  readonly #analyser: AnalyserNode;
  readonly #source: MediaStreamAudioSourceNode;
  readonly #player = new Audio();
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(context: AudioContext, stream: MediaStream) {
    // Interop: Chromium feeds a remote stream to Web Audio only while an element plays it too.
    this.#player.muted = true;
    this.#player.srcObject = stream;
    void this.#player.play().catch(() => {});
    this.#analyser = new AnalyserNode(context, { fftSize: 2048 });
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source = new MediaStreamAudioSourceNode(context, { mediaStream: stream });
    this.#source.connect(this.#analyser);
  }

  hears(frequency: number): boolean {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return toneShare(this.#samples, this.#analyser.context.sampleRate, frequency) > 0.5;
  }

  /** The loudness of what is heard now, 0 to 1. */
  level(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let energy = 0;
    for (const sample of this.#samples) energy += sample * sample;
    return Math.sqrt(energy / this.#samples.length);
  }

  close(): void {
    this.#source.disconnect();
    this.#player.srcObject = null;
  }
}

/** Mean square below which there is nothing to hear. */
const SILENCE = 1e-7;
