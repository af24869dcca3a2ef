// Two SIP phones whose call becomes a fax (T.38) and a call again, with text as it is typed (T.140) beside it: sipp
// signals, and sockets of our own send and take what passes.
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { after, afterEach, before, describe, test } from "node:test";
import { MediaServer, Rtpengine } from "../lib/media-server.mjs";
import { freePort } from "../lib/ports.mjs";
import { until } from "../lib/wait.mjs";
import { stage } from "../lib/world.mjs";

let it;

/** A socket that keeps what comes to it. */
async function open() {
  const socket = createSocket("udp4");
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const [heard, sent] = [[], new Set()];
  socket.on("message", (bytes) => heard.push(bytes.toString("latin1")));
  const send = (port, bytes) => {
    sent.add(Buffer.from(bytes).toString("latin1"));
    socket.send(bytes, port, "127.0.0.1");
  };
  return it.keep({ port: socket.address().port, heard, sent, send, close: async () => socket.close() });
}

/** In which message each phone is given a description, each time the first of its kind: of the call, and of the fax that the callee asks for. */
const CALL = { caller: /^SIP\/2.0 200 /, callee: /^INVITE / };
const FAX = { caller: /^INVITE /, callee: /^SIP\/2.0 200 / };

/** Waits for the port of a section in the first such message that a phone is given. */
async function told(phone, message, kind) {
  const section = new RegExp(`^m=${kind} ([1-9]\\d*) `, "m");
  const { text } = await until(`a phone is told where to send ${kind}`, async () =>
    (await phone.received()).find(({ line, text }) => message.test(line) && section.test(text)));
  return Number(section.exec(text)[1]);
}

/** Datagrams number after number, until both sides have some of the other's, untouched. */
async function exchange(sides, print) {
  let number = 0;
  for (const { socket } of sides) socket.heard.length = 0;
  await until("both hear each other", () => {
    number += 1;
    for (const { name, socket, port } of sides) socket.send(port, print(name, number));
    return sides.every(({ socket }) => socket.heard.length >= 20);
  });
  for (const [near, far] of [sides, [...sides].reverse()]) {
    for (const heard of near.socket.heard) assert.ok(far.socket.sent.has(heard), `${near.name} hears what ${far.name} sent: ${heard}`);
  }
}

/** UDPTL: a number, then what is the fax's own; it begins like RTP, STUN or DTLS at times. */
const udptl = (name, number) => Buffer.concat([Buffer.from([number >> 8, number & 0xff, 0x80]), Buffer.from(`fax of ${name} ${number}`)]);

/** T.140 with RED in RTP. */
function typed(name, number) {
  const header = Buffer.alloc(12);
  header[0] = 0x80;
  header[1] = 100;
  header.writeUInt16BE(number, 2);
  header.writeUInt32BE(number * 300, 4);
  header.writeUInt32BE(name.length * 1000, 8);
  return Buffer.concat([header, Buffer.from(`text of ${name} ${number}`)]);
}

const play = (isOurs) => async () => {
  const [faxes, texts] = [[await open(), await open()], [await open(), await open()]];
  const ports = (n) => ({ udptl: faxes[n].port, text: texts[n].port });
  const local = await freePort();
  const callee = await it.sipp("uas_fax", "phone5", { local, echo: true, keys: ports(1) });
  await it.signIn("phone5", local);
  const caller = await it.sipp("uac_fax", "bob", { echo: true, keys: { target: "phone5", ...ports(0) } });
  await callee.receives("ACK");
  // The callee may have its ACK before the caller has its answer.
  const sides = async (message, kind, sockets) => [
    { name: "caller", socket: sockets[0], port: await told(caller, message.caller, kind) },
    { name: "callee", socket: sockets[1], port: await told(callee, message.callee, kind) },
  ];
  await exchange(await sides(CALL, "text", texts), typed);
  await callee.nudge();
  const fax = await sides(FAX, "image", faxes);
  await exchange(fax, udptl);
  if (isOurs) {
    const stranger = await open();
    for (let n = 0; n < 100; n += 1) stranger.send(fax[0].port, Buffer.from(`\0${String.fromCharCode(n)}evil`));
    await exchange(fax, udptl);
    await until("all that the stranger sent is dropped", async () =>
      (await it.gateway.metric("crosspoint_media_packets_dropped_total", { reason: "unknown_source" })) >= 100);
    assert.equal(stranger.heard.length, 0);
  }
  await exchange(await sides(FAX, "text", texts), typed);
  await callee.nudge();
  // Its first description with sound is of the call: this one answers.
  await told(callee, FAX.callee, "audio");
  await callee.nudge();
  await Promise.all([caller.done(), callee.done()]);
  const [record] = await until("the call is recorded", () => it.gateway.records().length && it.gateway.records());
  if (isOurs) assert.match(record.media, /fax text$/);
};

for (const [place, start] of [
  ["beside us", undefined],
  ["on crosspoint media", () => MediaServer.start()],
  ["on rtpengine", () => Rtpengine.start()],
]) {
  describe(place, () => {
    let server;
    before(async () => {
      server = await start?.();
      const config = server ? `\n[[media_server]]\naddress = "127.0.0.1:${server.port()}"\n` : "";
      it = stage({ withoutBrowser: true, config });
      await it.setUp();
      if (server) await until("the server is healthy", async () => (await it.gateway.metric("crosspoint_media_servers", { state: "healthy" })) === 1);
    });
    afterEach(async () => {
      await it.close();
      await it.gateway.idle();
      if (server) await until("the server has no call any more", async () => (await server.ask({ command: "list" })).calls.length === 0);
    });
    after(async () => {
      await it.takeDown();
      await server?.stop();
    });

    test("a call becomes a fax and a call again, and text passes beside both", (t) => it.telling(play(!server))(t));
  });
}
