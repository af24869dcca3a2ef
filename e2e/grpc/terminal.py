"""A terminal of the call API: gRPC by grpcio with stubs made from the schema, media by aiortc.

Does what it is told, one JSON object on each line of its standard input, and tells what happens on its standard output.
Like the clients of the public service it fills its stream with empty messages.
"""
import argparse
import asyncio
import fractions
import json
import math
import re
import ssl
import sys
import tempfile
from pathlib import Path

import av
import grpc
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

RATE = 48_000
FRAME = 960


def stubs(proto):
    """Python modules made from the schema."""
    with tempfile.TemporaryDirectory(prefix="crosspoint-stubs-") as folder:
        return read_stubs(proto, folder)


def read_stubs(proto, folder):
    files = [str(p.relative_to(proto)) for p in Path(proto).rglob("*.proto")]
    code = protoc.main(["protoc", f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files])
    if code != 0:
        raise RuntimeError(f"protoc ended with {code}")
    sys.path.insert(0, folder)
    from wgtwo.webterminal.v0 import webterminal_pb2, webterminal_pb2_grpc
    sys.path.remove(folder)
    return webterminal_pb2, webterminal_pb2_grpc


class Tone(MediaStreamTrack):
    """A steady tone, 20 ms at a time."""
    kind = "audio"

    def __init__(self, frequency):
        super().__init__()
        self.frequency, self.at, self.began = frequency, 0, None

    async def recv(self):
        loop = asyncio.get_event_loop()
        if self.began is None:
            self.began = loop.time()
        await asyncio.sleep(max(0, self.began + self.at / RATE - loop.time()))
        step = 2 * math.pi * self.frequency / RATE
        samples = b"".join(
            int(8000 * math.sin(step * (self.at + n))).to_bytes(2, "little", signed=True) for n in range(FRAME))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(samples)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.at, fractions.Fraction(1, RATE)
        self.at += FRAME
        return frame


class Ear:
    """How much of the last second is one tone, and how loud it is."""

    def __init__(self):
        self.samples, self.heard = [], 0

    async def listen(self, track):
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        try:
            while True:
                for frame in resampler.resample(await track.recv()):
                    data = bytes(frame.planes[0])[:2 * frame.samples]
                    self.samples.extend(memoryview(data).cast("h"))
                self.samples = self.samples[-8000:]
                self.heard = asyncio.get_event_loop().time()
        except MediaStreamError:
            pass

    def is_there(self):
        return len(self.samples) >= 4000 and asyncio.get_event_loop().time() - self.heard < 0.5

    def level(self):
        """In dB below full scale; nothing that came lately is as quiet as silence."""
        if not self.is_there():
            return -100.0
        power = sum(s * s for s in self.samples) / len(self.samples)
        return 10 * math.log10(max(power / 32768**2, 1e-10))

    def share(self, frequency):
        """Of the power: 1 for a pure tone (Goertzel)."""
        if not self.is_there():
            return 0.0
        x = self.samples[-4000:]
        power = sum(s * s for s in x)
        if power < 4000 * 100 * 100:
            return 0.0
        w = 2 * math.pi * frequency / 8000
        re = sum(s * math.cos(w * n) for n, s in enumerate(x))
        im = sum(s * math.sin(w * n) for n, s in enumerate(x))
        return (re * re + im * im) * 2 / len(x) / power


class Call:
    def __init__(self, terminal, call_id):
        self.terminal, self.id, self.ear, self.opus = terminal, call_id, Ear(), None
        # As the protocol has it: no STUN, no TURN, and candidates in the description.
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Tone(terminal.frequency))
        self.connection.on("track", lambda track: asyncio.ensure_future(self.ear.listen(track)))

    async def offer(self):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp = self.connection.localDescription.sdp
        # aiortc writes its own number for Opus into a later offer, and goes on with the one that was agreed on.
        return re.sub(r"(?<=rtpmap:)96\b|(?<=SAVPF )96\b", self.opus, sdp) if self.opus else sdp

    async def answer(self, sdp):
        if found := re.search(r"rtpmap:(\d+) opus/", sdp):
            self.opus = found[1]
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.connection.localDescription.sdp


class Terminal:
    def __init__(self, args, channel):
        self.pb, rpc = stubs(args.proto)
        self.stub = rpc.WebTerminalServiceStub(channel)
        self.channel, self.frequency = channel, args.frequency
        self.calls, self.stream, self.outgoing = {}, None, None

    def tell(self, event, **more):
        print(json.dumps({"event": event, **more}), flush=True)

    async def requests(self, outgoing):
        """What is to be said, and an empty message whenever there is nothing for a tenth of a second."""
        while True:
            try:
                message = await asyncio.wait_for(outgoing.get(), 0.1)
            except asyncio.TimeoutError:
                message = self.pb.WebTerminalMessage()
            if message is None:
                return
            yield message

    async def open(self, method, metadata):
        self.method, self.outgoing = method, asyncio.Queue()
        self.stream = getattr(self.stub, method)(self.requests(self.outgoing), metadata=list(metadata.items()))
        asyncio.ensure_future(self.read(self.stream))

    async def read(self, stream):
        try:
            first = dict(await stream.initial_metadata())
            self.tell("open", metadata={key: first[key] for key in first if key.startswith("crosspoint-")})
            async for message in stream:
                await self.hear(message)
            self.tell("closed", code="OK")
        except grpc.aio.AioRpcError as error:
            self.tell("closed", code=error.code().name, details=error.details())
        except asyncio.CancelledError:
            self.tell("closed", code="CANCELLED")

    async def hear(self, message):
        kind = message.WhichOneof("message")
        if self.method == "Pipe" and self.calls:
            # There is one call, whatever its id is.
            message.call_id = next(iter(self.calls))
        more = {"call": message.call_id}
        call = self.calls.get(message.call_id)
        if kind == "offer":
            more["number"] = message.offer.msisdn.e164
            if call:
                sdp = await call.answer(message.offer.sdp)
                self.say(message.call_id, answer=self.pb.Answer(sdp=sdp))
            else:
                self.offered = message
        elif kind == "answer" and call:
            await call.connection.setRemoteDescription(RTCSessionDescription(message.answer.sdp, "answer"))
        elif kind == "in_call":
            more["number"] = message.in_call.msisdn.e164
        elif kind == "error":
            more["code"] = self.pb.Error.Code.Name(message.error.err)
        elif kind == "bye" and call:
            await self.calls.pop(message.call_id).connection.close()
        self.tell(kind, **more)

    def say(self, call_id, **body):
        self.outgoing.put_nowait(self.pb.WebTerminalMessage(call_id=call_id, **body))

    async def dial(self, call, number=None):
        self.calls[call] = Call(self, call)
        offer = self.pb.Offer(sdp=await self.calls[call].offer())
        if number is not None:
            offer.msisdn.e164 = number
        self.say(call, offer=offer)

    async def answer(self):
        call_id = self.offered.call_id
        self.calls[call_id] = Call(self, call_id)
        sdp = await self.calls[call_id].answer(self.offered.offer.sdp)
        self.say(call_id, answer=self.pb.Answer(sdp=sdp))

    async def ringing(self):
        self.say(self.offered.call_id, ringing=self.pb.Ringing())

    async def bye(self, call):
        self.say(call, bye=self.pb.Bye())
        if call in self.calls:
            await self.calls.pop(call).connection.close()

    async def turn(self, call, direction):
        """Changes which way the sound goes: `inactive` is hold."""
        call = self.calls[call]
        call.connection.getTransceivers()[0].direction = direction
        self.say(call.id, offer=self.pb.Offer(sdp=await call.offer()))

    async def push(self, call):
        self.say(call, action=self.pb.Action(toPhone=self.pb.ToPhone()))

    async def half_close(self):
        self.outgoing.put_nowait(None)

    async def cancel(self):
        self.stream.cancel()

    async def heard(self, call, frequency):
        ear = self.calls[call].ear if call in self.calls else Ear()
        self.tell("heard", share=ear.share(frequency), level=ear.level())

    async def health(self, service=""):
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(service=service))
        self.tell("health", status=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def reflected(target, credentials, options):
    """What the server says its schema is, as grpcurl asks."""
    with grpc.secure_channel(target, credentials, options) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("wgtwo.webterminal.v0.WebTerminalService")
        message = pool.FindMessageTypeByName("wgtwo.webterminal.v0.WebTerminalMessage")
        return {
            "services": list(database.get_services()),
            "methods": [method.name for method in service.methods],
            "fields": {field.name: field.number for field in message.fields},
        }


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--proto", required=True)
    parser.add_argument("--frequency", type=float, default=700)
    args = parser.parse_args()
    # Our own certificate, as somebody would who copied it from the server.
    certificate = ssl.get_server_certificate((args.host, args.port)).encode()
    credentials = grpc.ssl_channel_credentials(root_certificates=certificate)
    options = [("grpc.ssl_target_name_override", "localhost")]
    target = f"{args.host}:{args.port}"
    terminal = Terminal(args, grpc.aio.secure_channel(target, credentials, options))
    reader = asyncio.StreamReader()
    loop = asyncio.get_event_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    terminal.tell("ready")
    while line := await reader.readline():
        wish = json.loads(line)
        name = wish.pop("do")
        if name == "reflect":
            found = await loop.run_in_executor(None, reflected, target, credentials, options)
            terminal.tell("reflected", **found)
            continue
        try:
            await getattr(terminal, name)(**wish)
        except Exception as error:  # told, not hidden
            terminal.tell("failed", step=name, error=repr(error))


asyncio.run(main())
