#!/usr/bin/env python3
"""Makes one call over gRPC: plays a WAV file to whoever answers, and records what they say.

    call.py --gateway localhost:8443 --user alice --number 600 --play hello.wav --record heard.wav --seconds 10
"""

import argparse
import asyncio
import base64
import getpass
import json
import os
import ssl
import sys
import urllib.request
import uuid

import grpc
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRecorder
from wgtwo.webterminal.v0 import webterminal_pb2 as pb
from wgtwo.webterminal.v0 import webterminal_pb2_grpc as rpc


def sign_in(gateway, user, password, context):
    """A user's password gives a token, which is good for this user's calls."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"authorization": f"Basic {login}", "content-type": "application/json"}
    request = urllib.request.Request(f"https://{gateway}/api/rtcsessions", b"{}", headers)
    with urllib.request.urlopen(request, context=context) as response:
        return json.load(response)["rtc_browser_token"]


def channel_to(gateway, insecure):
    """One port has everything: HTTPS and gRPC."""
    if not insecure:
        return grpc.aio.secure_channel(gateway, grpc.ssl_channel_credentials())
    # The certificate that the gateway made itself is for localhost, whatever the address.
    host, port = gateway.rsplit(":", 1)
    shown = ssl.get_server_certificate((host, int(port))).encode()
    options = [("grpc.ssl_target_name_override", "localhost")]
    return grpc.aio.secure_channel(gateway, grpc.ssl_channel_credentials(shown), options)


async def said(outgoing):
    """What we say on the stream, until None: then we have said all we had to."""
    while (message := await outgoing.get()) is not None:
        yield message


async def make_call(channel, token, options):
    # No STUN and no TURN: the gateway finds us, and candidates stand in the description.
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    player = MediaPlayer(options.play, loop=True)
    recorder = MediaRecorder(options.record)
    peer.addTrack(player.audio)
    peer.on("track", recorder.addTrack)

    call_id = str(uuid.uuid4())
    await peer.setLocalDescription(await peer.createOffer())
    offer = pb.Offer(sdp=peer.localDescription.sdp)
    offer.msisdn.e164 = options.number
    outgoing = asyncio.Queue()
    outgoing.put_nowait(pb.WebTerminalMessage(call_id=call_id, offer=offer))

    async def hang_up():
        await asyncio.sleep(options.seconds)
        outgoing.put_nowait(pb.WebTerminalMessage(call_id=call_id, bye=pb.Bye()))
        outgoing.put_nowait(None)

    answered = False
    stub = rpc.WebTerminalServiceStub(channel)
    try:
        async for message in stub.MultiPipe(said(outgoing), metadata=[("authorization", f"Bearer {token}")]):
            if message.call_id != call_id:
                continue  # Another call of this number.
            kind = message.WhichOneof("message")
            print(kind, flush=True)
            if kind == "answer" and not answered:
                # An announcement may come before the call is taken; the description is the same.
                answered = True
                await peer.setRemoteDescription(RTCSessionDescription(message.answer.sdp, "answer"))
                await recorder.start()
                asyncio.ensure_future(hang_up())
            elif kind == "error":
                print(pb.Error.Code.Name(message.error.err), file=sys.stderr)
            elif kind == "bye":
                break
    finally:
        await recorder.stop()
        await peer.close()
    return answered


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", default="localhost:8443", metavar="HOST:PORT")
    parser.add_argument("--user", required=True)
    parser.add_argument("--number", default="600", help="whom to call; 600 is an echo")
    parser.add_argument("--play", required=True, metavar="WAV", help="what the far side hears, again and again")
    parser.add_argument("--record", required=True, metavar="WAV", help="where what the far side says goes")
    parser.add_argument("--seconds", type=float, default=10, help="how long the call lasts")
    parser.add_argument("--insecure", action="store_true", help="take whatever certificate the gateway shows")
    options = parser.parse_args()
    password = os.environ.get("CROSSPOINT_PASSWORD") or getpass.getpass()
    context = ssl._create_unverified_context() if options.insecure else None
    token = sign_in(options.gateway, options.user, password, context)
    async with channel_to(options.gateway, options.insecure) as channel:
        if not await make_call(channel, token, options):
            sys.exit("nobody answered")


asyncio.run(main())
