// The mean colour of a PNG of 8-bit RGB or RGBA, as snapshots of pictures are.
import { inflateSync } from "node:zlib";

/** Null while the file is not complete. */
export function meanColour(file) {
  if (file.length < 33 || file.subarray(-8, -4).toString("latin1") !== "IEND") return null;
  const [width, height] = [file.readUInt32BE(16), file.readUInt32BE(20)];
  const channels = { 2: 3, 6: 4 }[file[25]];
  if (file[24] !== 8 || !channels) throw new Error(`PNG of depth ${file[24]}, kind ${file[25]}`);
  const parts = [];
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    if (file.toString("latin1", at + 4, at + 8) === "IDAT") parts.push(file.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  let before = Buffer.alloc(stride);
  const sum = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    const line = Buffer.from(raw.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1)));
    for (let x = 0; x < stride; x++) {
      const left = x >= channels ? line[x - channels] : 0;
      const corner = x >= channels ? before[x - channels] : 0;
      line[x] += [0, left, before[x], (left + before[x]) >> 1, paeth(left, before[x], corner)][filter];
    }
    for (let x = 0; x < stride; x += channels) for (let c = 0; c < 3; c++) sum[c] += line[x + c];
    before = line;
  }
  return sum.map((s) => Math.round(s / (width * height)));
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const [a, b, c] = [left, above, corner].map((v) => Math.abs(guess - v));
  return a <= b && a <= c ? left : b <= c ? above : corner;
}
