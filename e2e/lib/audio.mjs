// Sound as evidence: writes tones to WAV files and finds tones in recordings.
import { readFile, writeFile } from "node:fs/promises";

/** Writes a mono 16-bit WAV of one tone. */
export async function writeTone(path, { frequency, seconds, rate = 48000, level = 0.5 }) {
  const samples = new Int16Array(rate * seconds);
  for (let i = 0; i < samples.length; i++) {
    samples[i] = Math.round(32767 * level * Math.sin((2 * Math.PI * frequency * i) / rate));
  }
  await writeFile(path, wav(samples, rate));
}

/** Writes one tone as bare G.711 µ-law samples at 8 kHz, as sipp's rtp_stream plays them. */
export async function writeUlaw(path, { frequency, seconds, level = 0.5 }) {
  const bytes = Buffer.alloc(8000 * seconds);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = ulaw(Math.round(32767 * level * Math.sin((2 * Math.PI * frequency * i) / 8000)));
  }
  await writeFile(path, bytes);
}

function ulaw(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  let magnitude = Math.min(Math.abs(sample), 32635) + 132;
  let exponent = 7;
  for (let mask = 0x4000; (magnitude & mask) === 0 && exponent > 0; mask >>= 1) exponent--;
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f;
  return ~(sign | (exponent << 4) | mantissa) & 0xff;
}

/** The samples of G.711 µ-law. */
export function readUlaw(bytes) {
  return Float64Array.from(bytes, (byte) => {
    const flipped = ~byte & 0xff;
    const magnitude = (((flipped & 0x0f) << 3) + 132 << (flipped >> 4 & 7)) - 132;
    return (flipped & 0x80 ? -magnitude : magnitude) / 32768;
  });
}

function wav(samples, rate) {
  const header = Buffer.alloc(44);
  header.write("RIFF", 0);
  header.writeUInt32LE(36 + samples.byteLength, 4);
  header.write("WAVEfmt ", 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * 2, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36);
  header.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer)]);
}

/**
 * Reads the samples of a 16-bit PCM WAV, also of one that is still being written: some programs write its head last, so
 * they say which `rate` it will have.
 */
export async function readWav(path, usual) {
  const file = await readFile(path);
  const isReady = file.length >= 44 && file.readUInt32LE(24) > 0;
  if (!isReady && !usual) throw new Error(`${path} has no head yet`);
  const rate = isReady ? file.readUInt32LE(24) : usual;
  const data = isReady ? file.indexOf("data") + 8 : 44;
  const count = Math.floor((file.length - data) / 2);
  const samples = new Float64Array(count);
  for (let i = 0; i < count; i++) samples[i] = file.readInt16LE(data + 2 * i) / 32768;
  return { rate, samples };
}

/** The share of a signal's energy that lies at one frequency (Goertzel), and its level. */
export function toneShare(samples, rate, frequency) {
  const omega = (2 * Math.PI * frequency) / rate;
  const coefficient = 2 * Math.cos(omega);
  let before = 0;
  let last = 0;
  let energy = 0;
  for (const sample of samples) {
    const next = sample + coefficient * last - before;
    before = last;
    last = next;
    energy += sample * sample;
  }
  const power = last * last + before * before - coefficient * last * before;
  const share = energy === 0 ? 0 : (2 * power) / (samples.length * energy);
  return { share, level: Math.sqrt(energy / Math.max(1, samples.length)) };
}

/** The best tone share among windows of so many seconds: a recording starts and ends with silence. */
export function bestToneShare({ samples, rate }, frequency, seconds = 0.5) {
  const window = Math.floor(rate * seconds);
  let best = { share: 0, level: 0 };
  for (let at = 0; at + window <= samples.length; at += window) {
    const found = toneShare(samples.subarray(at, at + window), rate, frequency);
    if (found.level > 0.01 && found.share > best.share) best = found;
  }
  return best;
}
