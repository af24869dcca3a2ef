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

/** The port of a section in the last description that a phone was given. */
async function told(phone, kind) {
  const all = (await phone.received()).map(({ text }) => new RegExp(`^m=${kind} ([1-9]\\d*) `, "m").exec(text)?.[1]);
  return Number(all.findLast(Boolean));
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
  const { header } = await callee.receives("ACK");
  const nudge = await open();
  let nudges = 0;
  const say = () => {
    nudges += 1;
    nudge.send(local, `INFO sip:test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${nudge.port};branch=z9hG4bK${nudges}\r\n`
      + `From: <sip:test>;tag=1\r\nTo: <sip:test>\r\nCall-ID: ${header("Call-ID")}\r\nCSeq: ${nudges} INFO\r\nContent-Length: 0\r\n\r\n`);
  };
  const sides = async (kind, sockets) => [
    { name: "caller", socket: sockets[0], port: await told(caller, kind) },
    { name: "callee", socket: sockets[1], port: await told(callee, kind) },
  ];
  await exchange(await sides("text", texts), typed);
  say();
  await until("both are told where to send fax", async () => (await told(caller, "image")) && (await told(callee, "image")));
  const fax = await sides("image", faxes);
  await exchange(fax, udptl);
  if (isOurs) {
    const stranger = await open();
    for (let n = 0; n < 100; n += 1) stranger.send(fax[0].port, Buffer.from(`\0${String.fromCharCode(n)}evil`));
    await exchange(fax, udptl);
    assert.equal(stranger.heard.length, 0);
    assert.ok((await it.gateway.metric("crosspoint_media_packets_dropped_total", { reason: "unknown_source" })) >= 100);
  }
  await exchange(await sides("text", texts), typed);
  say();
  await until("there is sound again", async () => (await callee.received()).filter(({ text }) => /^m=audio [1-9]/m.test(text)).length === 2);
  say();
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
      if (server) assert.equal((await server.ask({ command: "list" })).calls.length, 0, "the server has no call any more");
    });
    after(async () => {
      await it.takeDown();
      await server?.stop();
    });

    test("a call becomes a fax and a call again, and text passes beside both", (t) => it.telling(play(!server))(t));
  });
}
