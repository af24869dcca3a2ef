// Ports for programs that cannot tell which they took.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

/**
 * Where they are: above those of the gateway's calls and relays, and below those that the system gives to whoever asks for
 * any. So nobody gets one between our look and the program that it is for.
 */
const [FIRST, LAST] = [30_000, 32_767];
/** So many ports belong to one process of ours at a time. */
const SHARE = 256;
const STEP = 4;

let share;
let next = 0;

/**
 * A port that is free, for UDP and TCP and with the next ones beside it: some programs take a second port for TLS or
 * RTCP, and sipp two more for video.
 */
export async function freePort(host = "127.0.0.1") {
  const first = await (share ??= claim());
  for (let tries = 0; tries < SHARE; tries++) {
    // The first ports of the share say that it is taken. Those that are given are even, as RTP has it.
    const port = first + STEP + (next = (next + STEP) % (SHARE - STEP));
    const ports = Array.from({ length: STEP }, (_, at) => port + at);
    const all = await Promise.all(ports.flatMap((port) => [bindUdp(port, host), bindTcp(port, host)]));
    for (const bound of all) await new Promise((resolve) => (bound ? bound.close(resolve) : resolve()));
    if (all.every(Boolean)) return port;
  }
  throw new Error(`no port of ${first} to ${first + SHARE - 1} is free`);
}

/** Takes a share of the ports for as long as this process lives. */
const claim = async () => (await claimRange(FIRST, LAST, SHARE)).first;

/**
 * Ports for a program that takes some of them by itself, and would take those of another that does so, too: rtpengine, where
 * two share the range. `last` belongs to it as well; `release` gives them back.
 */
export const portRange = () => claimRange(10_000, FIRST - 1, 400);

async function claimRange(from, to, size) {
  const count = Math.floor((to + 1 - from) / size);
  // Processes that begin together do not look at the same ones.
  const start = process.pid % count;
  for (let tries = 0; tries < count; tries++) {
    const first = from + ((start + tries) % count) * size;
    const sign = await bindTcp(first, "127.0.0.1");
    if (sign) {
      sign.unref();
      return { first, last: first + size - 1, release: () => sign.close() };
    }
  }
  throw new Error(`all ports of ${from} to ${to} are taken`);
}

function bindUdp(port, host) {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.once("error", () => resolve(null)).bind(port, host, () => resolve(socket));
  });
}

function bindTcp(port, host) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null)).listen(port, host, () => resolve(server));
  });
}
