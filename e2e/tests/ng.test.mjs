// The ng protocol byte for byte on every transport, and beside the original with the same requests.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createSocket } from "node:dgram";
import { request } from "node:http";
import { connect } from "node:net";
import { MediaServer, Rtpengine, bdecode, bencode } from "../lib/media-server.mjs";
import { until } from "../lib/wait.mjs";

const PING = "d7:command4:pinge";
const PONG = "d6:result4:ponge";
let media;
before(async () => (media = await MediaServer.start()));
after(() => media?.stop());

function post(path, type, body) {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port: media.port("ng-http"), path, method: "POST", headers: { "content-type": type } }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"], text }));
    });
    sent.on("error", reject).end(body);
  });
}

/** A WebSocket by hand, so that each byte is seen. */
function webSocket(protocol) {
  return new Promise((resolve, reject) => {
    const headers = {
      connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13",
      "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==", "sec-websocket-protocol": protocol,
    };
    const asked = request({ host: "127.0.0.1", port: media.port("ng-http"), path: "/any", headers });
    asked.on("upgrade", ({ headers }, socket) => resolve({ accepted: headers["sec-websocket-protocol"], socket }));
    asked.on("response", ({ statusCode }) => reject(new Error(`refused with ${statusCode}`)));
    asked.on("error", reject).end();
  });
}

describe("transports", () => {
  test("a datagram is answered by a datagram", async () => {
    const socket = createSocket("udp4");
    const heard = [];
    socket.on("message", (bytes) => heard.push(bytes.toString()));
    for (const message of [`5323_1 ${PING}`, PING, ` ${PING}`, "5323_2 x", "5323_3 ", '5323_4 {"command":"ping"}']) {
      socket.send(message, media.port(), "127.0.0.1");
    }
    await until("the last is answered", () => heard.some((text) => text.startsWith("5323_4")));
    socket.close();
    assert.deepEqual(heard, [
      `5323_1 ${PONG}`,
      "5323_2 d6:result5:error12:error-reason22:Invalid NG data formate",
      "5323_3 d6:result5:error12:error-reason25:Invalid data (no payload)e",
      '5323_4 {"result":"pong"}',
    ]);
  });

  test("a stream may be split and joined anywhere", async () => {
    const stream = `tcp_1 ${PING}tcp_2 {"command":"ping"}tcp_3 ${PING}`;
    const replies = `tcp_1 ${PONG}tcp_2 {"result":"pong"}tcp_3 ${PONG}`;
    for (const size of [1, 7, stream.length]) {
      const socket = connect(media.port("ng-tcp"), "127.0.0.1");
      socket.setNoDelay(true);
      let heard = "";
      socket.on("data", (chunk) => (heard += chunk));
      for (let at = 0; at < stream.length; at += size) {
        await new Promise((resolve) => socket.write(stream.slice(at, at + size), resolve));
      }
      await until("all are answered", () => heard.length >= replies.length);
      assert.equal(heard, replies);
      socket.destroy();
    }
  });

  test("a stream that is none is told so and ends", async () => {
    const socket = connect(media.port("ng-tcp"), "127.0.0.1");
    let heard = "";
    socket.on("data", (chunk) => (heard += chunk));
    const ended = new Promise((resolve) => socket.once("end", resolve));
    socket.write("bad_1 nonsense");
    await ended;
    assert.match(heard, /^bad_1 d6:result5:error/);
  });

  test("HTTP takes messages with and without cookie, and knows its types", async () => {
    const kind = "application/x-rtpengine-ng";
    assert.deepEqual(await post("/ng", kind, `http_1 ${PING}`), { status: 200, type: kind, text: `http_1 ${PONG}` });
    assert.deepEqual(await post("/ng-plain", kind, PING), { status: 200, type: kind, text: PONG });
    assert.deepEqual(await post("/ng-plain", "application/json", '{"command":"ping"}'), { status: 200, type: "application/json", text: '{"result":"pong"}' });
    assert.equal((await post("/ng", "text/plain", `http_2 ${PING}`)).status, 404);
    assert.equal((await post("/ng", kind, PING)).status, 400);
  });

  test("a cookie is one for all transports", async () => {
    const socket = createSocket("udp4");
    const heard = new Promise((resolve) => socket.once("message", (bytes) => resolve(bytes.toString())));
    socket.send(`shared_1 d7:command4:liste`, media.port(), "127.0.0.1");
    const first = await heard;
    socket.close();
    const again = await post("/ng", "application/x-rtpengine-ng", `shared_1 ${PING}`);
    assert.equal(again.text, first);
  });

  test("a WebSocket answers text and bytes with bytes", async () => {
    for (const [protocol, cookie] of [["ng.rtpengine.com", "ws_1 "], ["ng-plain.rtpengine.com", ""]]) {
      for (const kind of [TEXT, BINARY]) {
        const { accepted, socket } = await webSocket(protocol);
        assert.equal(accepted, protocol);
        const length = 2 + cookie.length + PONG.length;
        let answer = Buffer.alloc(0);
        socket.on("data", (chunk) => (answer = Buffer.concat([answer, chunk])));
        socket.write(frame(kind, `${cookie}${PING}`));
        await until("a whole message is there", () => answer.length >= length);
        assert.deepEqual([...answer.subarray(0, 2)], [0x80 | BINARY, cookie.length + PONG.length]);
        assert.equal(answer.subarray(2).toString(), `${cookie}${PONG}`);
        socket.destroy();
      }
    }
  });
});

const [TEXT, BINARY] = [1, 2];

/** One short message from a client (RFC 6455 §5.2). */
function frame(kind, text) {
  const [mask, bytes] = [[1, 2, 3, 4], Buffer.from(text)];
  return Buffer.from([0x80 | kind, 0x80 | bytes.length, ...mask, ...bytes.map((byte, at) => byte ^ mask[at % 4])]);
}

const phone = (port, formats, rest = "") =>
  `v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio ${port} RTP/AVP ${formats}\r\na=rtpmap:101 telephone-event/8000\r\n${rest}a=sendrecv\r\n`;
const browser =
  "v=0\r\no=- 46 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=ice-options:trickle\r\n" +
  `a=fingerprint:sha-256 ${Array.from({ length: 32 }, (_, n) => n.toString(16).padStart(2, "0")).join(":").toUpperCase()}\r\n` +
  "a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=candidate:1 1 udp 2122260223 127.0.0.1 5000 typ host\r\n";

/** What a description means, without ports, keys and the order of lines. */
function meaning(sdp) {
  const lines = sdp.split("\r\n");
  const has = (name) => lines.some((line) => line === `a=${name}` || line.startsWith(`a=${name}:`));
  const [kind, port, protocol, ...formats] = lines.find((line) => line.startsWith("m=")).slice(2).split(" ");
  return {
    kind, used: port !== "0", protocol, formats,
    address: lines.find((line) => line.startsWith("c=")),
    direction: ["sendrecv", "sendonly", "recvonly", "inactive"].find(has),
    ice: has("ice-ufrag"), dtls: has("fingerprint"), keys: has("crypto"), mux: has("rtcp-mux"), mid: has("mid"),
    setup: lines.find((line) => line.startsWith("a=setup"))?.slice(8),
    origin: lines.find((line) => line.startsWith("o=")).split(" ").at(-1), name: lines.find((line) => line.startsWith("s=")),
  };
}

describe("beside rtpengine", () => {
  let original;
  before(async () => (original = await Rtpengine.start()));
  after(() => original?.stop());

  const both = async (message) => [await media.ask(message), await original.ask(message)];

  for (const [name, offer, answer, flags, back] of [
    ["phone to phone", phone(5000, "0 8 101"), phone(6000, "0 101"), {}, {}],
    ["a codec neither decodes", phone(5000, "18 101"), phone(6000, "18 101"), { replace: ["origin"] }, { replace: ["origin"] }],
    ["phone to browser", phone(5000, "0 101"), browser.replace("111 0 126", "0").replace("actpass", "active"),
      { ICE: "force", "transport-protocol": "UDP/TLS/RTP/SAVPF", SDES: ["off"], "rtcp-mux": ["require"], flags: ["generate-mid"] }, { ICE: "remove" }],
    ["browser to phone", browser, phone(6000, "0 126").replaceAll("101", "126"),
      { ICE: "remove", "transport-protocol": "RTP/AVP", "rtcp-mux": ["demux"], DTLS: "off", SDES: ["off"] }, { ICE: "force" }],
    ["stripped codecs", phone(5000, "0 8 18 101"), phone(6000, "8 101"), { codec: { strip: ["PCMU", "G729"] } }, {}],
    ["on hold", phone(5000, "0 101").replace("sendrecv", "sendonly"), phone(6000, "0 101").replace("sendrecv", "recvonly"), {}, {}],
  ]) {
    test(`${name}: descriptions mean the same`, async () => {
      const call = { "call-id": `diff ${name}`, "from-tag": "a" };
      const [ours, theirs] = await both({ command: "offer", ...call, sdp: offer, ...flags });
      assert.deepEqual(Object.keys(ours).sort(), Object.keys(theirs).sort());
      const told = (mine, its) => {
        const [a, b] = [meaning(mine), meaning(its)];
        // We leave mid out where nothing is bundled, and answer actpass passively.
        for (const side of [a, b]) delete side.mid;
        if (a.setup !== b.setup) assert.deepEqual([a.setup, b.setup], ["passive", "active"]);
        for (const side of [a, b]) delete side.setup;
        assert.deepEqual(a, b, `ours:\n${mine}\ntheirs:\n${its}`);
      };
      told(ours.sdp, theirs.sdp);
      const [ourAnswer, theirAnswer] = await both({ command: "answer", ...call, "to-tag": "b", sdp: answer, ...back });
      assert.equal(ourAnswer.result, theirAnswer.result, JSON.stringify([ourAnswer, theirAnswer]));
      told(ourAnswer.sdp, theirAnswer.sdp);
      const [ourQuery, theirQuery] = await both({ command: "query", "call-id": call["call-id"] });
      assert.deepEqual(Object.keys(ourQuery).sort(), Object.keys(theirQuery).sort());
      assert.deepEqual(Object.keys(ourQuery.tags).sort(), Object.keys(theirQuery.tags).sort());
      const [ourParty, theirParty] = [ourQuery.tags.a, theirQuery.tags.a];
      for (const key of Object.keys(theirParty).filter((k) => k !== "VSC" && k !== "inject DTMF")) assert.ok(key in ourParty, `a party has ${key}`);
      const [ourStream, theirStream] = [ourParty.medias[0].streams[0], theirParty.medias[0].streams[0]];
      assert.equal(ourStream["local address"], theirStream["local address"]);
      assert.deepEqual(ourStream.endpoint?.family, theirStream.endpoint?.family);
      const [ourEnd, theirEnd] = await both({ command: "delete", ...call, "delete delay": 0 });
      assert.deepEqual(Object.keys(ourEnd).sort(), Object.keys(theirEnd).sort());
    });
  }

  test("fax passes untouched", async () => {
    const fax = (port, version) => `v=0\r\no=- 1 ${version} IN IP4 127.0.0.1\r\ns=call\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image ${port} udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n`;
    const [a, b] = [await station(), await station()];
    const call = { "call-id": "fax", "from-tag": "a" };
    const offers = await both({ command: "offer", ...call, sdp: phone(5000, "0 101") });
    const answers = await both({ command: "answer", ...call, "to-tag": "b", sdp: phone(6000, "0 101") });
    for (const { result } of [...offers, ...answers]) assert.equal(result, "ok");
    const offer = await both({ command: "offer", ...call, "to-tag": "b", sdp: fax(a.port, 2) });
    const answer = await both({ command: "answer", ...call, "to-tag": "b", sdp: fax(b.port, 2) });
    for (const of of [0, 1]) {
      const at = ({ sdp }) => Number(/^m=image (\d+) udptl t38\r$/m.exec(sdp)[1]);
      assert.match(offer[of].sdp, /a=T38FaxVersion:0\r\n/);
      // A datagram may find the server at work on the description.
      await passes(a, at(answer[of]), b, `to b ${of}`);
      await passes(b, at(offer[of]), a, `to a ${of}`);
    }
    for (const it of [a, b]) it.socket.close();
    await both({ command: "delete", ...call, "delete delay": 0 });
  });

  /** Every section of a description, without ports and the order of lines. */
  const sections = (sdp) => sdp.split(/(?=^m=)/m).slice(1).map((part) => {
    const [kind, port, protocol, ...formats] = part.slice(2, part.indexOf("\r")).split(" ");
    return { kind, used: port !== "0", protocol, formats, direction: /a=(send|recv)(only|recv)/.exec(part)?.[0] };
  });
  const ports = (sdp) => [...sdp.matchAll(/^m=\w+ (\d+)/gm)].map((match) => Number(match[1]));
  const sound = (pt, seq) => {
    const packet = Buffer.alloc(172, pt);
    packet.writeUInt16BE(0x8000 + pt, 0);
    packet.writeUInt16BE(seq, 2);
    packet.writeUInt32BE(160 * seq, 4);
    packet.writeUInt32BE(7, 8);
    return packet;
  };

  for (const [form, coding] of [["bencode", [bencode, bdecode]], ["JSON", [JSON.stringify, JSON.parse]]]) {
    test(`who subscribes hears both sounds of a party, asked in ${form}`, async () => {
      const two = (first, second, direction = "sendrecv") =>
        phone(first, "0 101").replace("sendrecv", direction) + `m=audio ${second} RTP/AVP 8\r\na=${direction}\r\n`;
      const call = { "call-id": `ears ${form}`, "from-tag": "a" };
      const got = [];
      for (const server of [media, original]) {
        const [a, b, ear] = await Promise.all([0, 1, 2].map(async () => [await station(), await station()]));
        const at = (it, direction) => two(it[0].port, it[1].port, direction);
        const offer = await server.ask({ command: "offer", ...call, sdp: at(a) }, coding);
        const answer = await server.ask({ command: "answer", ...call, "to-tag": "b", sdp: at(b) }, coding);
        const wish = await server.ask({ command: "subscribe request", ...call, "to-tag": "ear" }, coding);
        const taken = await server.ask({ command: "subscribe answer", ...call, "to-tag": "ear", sdp: at(ear, "recvonly") }, coding);
        const query = await server.ask({ command: "query", "call-id": call["call-id"] }, coding);
        let seq = 0;
        await until("both sounds come to both", () => {
          seq += 1;
          ports(answer.sdp).forEach((port, n) => a[n].socket.send(sound([0, 8][n], seq), port, "127.0.0.1"));
          return [...b, ...ear].every((it) => it.heard.some((h) => h.text.length >= 160));
        });
        const others = [
          await server.ask({ command: "subscribe request", "call-id": call["call-id"], flags: ["all"] }, coding),
          await server.ask({ command: "publish", "call-id": `${call["call-id"]} 2`, "from-tag": "s", sdp: phone(8000, "0 8 101").replace("sendrecv", "sendonly") }, coding),
          await server.ask({ command: "unsubscribe", ...call, "to-tag": "ear" }, coding),
        ];
        for (const it of [...a, ...b, ...ear]) it.socket.close();
        const links = Object.fromEntries(Object.entries(query.tags).map(([tag, it]) => [tag, [it.subscriptions, it.subscribers, it.medias.length]]));
        const replies = [offer, answer, wish, taken, ...others];
        for (const reply of replies) assert.equal(reply.result, "ok", JSON.stringify(reply));
        // What ours says more: publish tells the names it was given.
        const shape = replies.map(({ sdp, "call-id": _, ...rest }) => ({ ...rest, sections: sdp && sections(sdp) }));
        shape[4]["to-tag"] = shape[4]["to-tag"].length;
        delete shape[5]["from-tag"];
        got.push({ shape, links });
        for (const id of [call["call-id"], `${call["call-id"]} 2`]) await server.ask({ command: "delete", "call-id": id, "delete delay": 0 }, coding);
      }
      assert.deepEqual(got[0], got[1]);
    });
  }

  for (const role of ["active", "passive"]) {
    test(`keys are made by DTLS without ICE, the original ${role}`, async () => {
      const [a, b] = [await station(), await station()];
      const call = { "call-id": `dtls ${role}`, "from-tag": "a" };
      const granted = async (server, request) => {
        const reply = await server.ask({ ...call, ...request });
        assert.equal(reply.result, "ok", JSON.stringify(reply));
        return reply.sdp;
      };
      const plain = { "transport-protocol": "RTP/AVP", ICE: "remove", "rtcp-mux": ["demux"] };
      const between = await granted(media, { command: "offer", sdp: phone(a.port, "0"), "transport-protocol": "UDP/TLS/RTP/SAVP", ICE: "remove", SDES: ["off"] });
      assert.match(between, /UDP\/TLS\/RTP\/SAVP 0/);
      assert.ok(between.includes("a=fingerprint:") && between.includes("a=setup:actpass") && !between.includes("a=ice-"), between);
      const toB = await granted(original, { command: "offer", sdp: between, ...plain });
      const back = await granted(original, { command: "answer", "to-tag": "b", sdp: phone(b.port, "0"), DTLS: role, ICE: "remove" });
      assert.match(back, new RegExp(`a=setup:${role}`));
      const toA = await granted(media, { command: "answer", "to-tag": "b", sdp: back, ...plain });
      let seq = 0;
      await until("both hear each other through both servers", () => {
        seq += 1;
        a.socket.send(sound(0, seq), ports(toA)[0], "127.0.0.1");
        b.socket.send(sound(0, seq), ports(toB)[0], "127.0.0.1");
        return [a, b].every((it) => it.heard.filter((h) => h.text.length >= 160).length > 10);
      });
      const { tags } = await media.ask({ command: "query", "call-id": call["call-id"] });
      assert.ok(tags.b.medias[0].flags.includes("DTLS-SRTP") && !tags.b.medias[0].flags.includes("ICE"));
      for (const it of [a, b]) it.socket.close();
      for (const server of [media, original]) await server.ask({ command: "delete", ...call, "delete delay": 0 });
    });
  }

  test("mistakes have the same texts", async () => {
    for (const message of [
      { command: "nonsense" },
      { command: "offer" },
      { command: "offer", "call-id": "x" },
      { command: "query", "call-id": "nobody" },
      { command: "delete", "call-id": "nobody", "from-tag": "a" },
      { command: "delete", "call-id": "nobody", "from-tag": "a", flags: ["fatal"] },
      { command: "list", limit: -1 },
      { command: "block media", "call-id": "nobody" },
      { command: "play DTMF", "call-id": "nobody", code: "5" },
      { command: "start recording" },
      { command: "start recording", "call-id": "nobody" },
      { command: "play media", "call-id": "nobody", "from-tag": "a", file: "x.wav" },
      { command: "stop media", "call-id": "nobody" },
      { command: "start forwarding", "call-id": "nobody" },
      { command: "stop forwarding", "call-id": "nobody" },
      { command: "subscribe request", "call-id": "nobody", "from-tag": "a" },
      { command: "subscribe answer", "call-id": "nobody", "to-tag": "a", sdp: phone(5000, "0") },
      { command: "subscribe answer", "call-id": "nobody", "to-tag": "a" },
      { command: "unsubscribe", "call-id": "nobody", "to-tag": "a" },
      { command: "publish", "call-id": "nobody", "from-tag": "a" },
      { command: "publish", "call-id": "nobody", sdp: phone(5000, "0") },
    ]) {
      const [ours, theirs] = await both(message);
      assert.deepEqual(ours, theirs, JSON.stringify(message));
    }
  });
});

/** A place that sends and hears datagrams. */
async function station(address = "127.0.0.1") {
  const socket = createSocket("udp4");
  const heard = [];
  socket.on("message", (bytes, from) => heard.push({ text: bytes.toString(), from: from.address }));
  await new Promise((resolve) => socket.bind(0, address, resolve));
  return { socket, heard, port: socket.address().port };
}

/** Sends until the other hears it, and gives how. */
async function passes(from, port, to, text, address = "127.0.0.1") {
  return until(`${text} passes`, () => {
    const found = to.heard.find((h) => h.text === text);
    if (!found) from.socket.send(text, port, address);
    return found;
  });
}

describe("several interfaces", () => {
  test("each side is heard from the address that it was told", async () => {
    const server = await MediaServer.start({ config: `[ng]\ninterfaces = ["inside/127.0.0.1", "outside/127.0.0.2"]\n` });
    const [a, b] = [await station(), await station("127.0.0.2")];
    const call = { "call-id": "two", "from-tag": "a" };
    const far = phone(b.port, "0").replace("c=IN IP4 127.0.0.1", "c=IN IP4 127.0.0.2");
    const toB = await server.ask({ command: "offer", ...call, sdp: phone(a.port, "0"), direction: ["inside", "outside"] });
    const toA = await server.ask({ command: "answer", ...call, "to-tag": "b", sdp: far });
    const at = ({ sdp }) => ({ address: /c=IN IP4 (\S+)/.exec(sdp)[1], port: Number(/m=audio (\d+)/.exec(sdp)[1]) });
    assert.deepEqual([at(toA).address, at(toB).address], ["127.0.0.1", "127.0.0.2"]);
    const packet = Buffer.alloc(172, 1);
    packet.writeUInt16BE(0x8000, 0);
    const hears = (it) => it.heard.find((h) => h.text.length >= 160)?.from;
    let seq = 0;
    const send = (it, { address, port }) => (packet.writeUInt16BE((seq += 1), 2), it.socket.send(packet, port, address));
    await until("both hear each other", () => (send(a, at(toA)), send(b, at(toB)), hears(a) && hears(b)));
    assert.deepEqual([hears(a), hears(b)], ["127.0.0.1", "127.0.0.2"]);
    for (const it of [a, b]) it.socket.close();
    await server.stop();
  });
});
