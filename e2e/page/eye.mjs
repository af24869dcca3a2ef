// What a test client sees and shows: a canvas of one colour as camera, and an eye that tells the colour that comes.

let screen = null;

/**
 * A camera that shows one colour, and a small square that moves, so that frames differ. A busy one has snow around the colour: as
 * many bits as the encoder may spend.
 */
export function camera([red, green, blue], { width = 320, height = 240, busy = false } = {}) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  let at = 0;
  setInterval(() => {
    pen.fillStyle = `rgb(${red} ${green} ${blue})`;
    pen.fillRect(0, 0, width, height);
    if (busy) {
      const snow = pen.createImageData(width, height / 4);
      for (let i = 0; i < snow.data.length; i += 65_536) crypto.getRandomValues(snow.data.subarray(i, i + 65_536));
      for (let i = 3; i < snow.data.length; i += 4) snow.data[i] = 255;
      pen.putImageData(snow, 0, 0);
      pen.putImageData(snow, 0, 0.75 * height);
    }
    pen.fillStyle = "black";
    at = (at + 7) % (width - 8);
    pen.fillRect(at, 0, 8, 8);
  }, 50);
  return canvas.captureStream(20).getVideoTracks()[0];
}

/** Looks at a remote track. */
export function watch(track) {
  screen ??= Object.assign(document.createElement("video"), { autoplay: true, muted: true, playsInline: true });
  screen.srcObject = new MediaStream([track]);
  screen.play().catch(() => {});
}

/** The mean colour of the middle of the picture, and how many frames were shown. */
export function seen() {
  if (!screen || screen.videoWidth === 0) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 });
  const pen = canvas.getContext("2d");
  const [width, height] = [screen.videoWidth, screen.videoHeight];
  pen.drawImage(screen, width / 4, height / 4, width / 2, height / 2, 0, 0, 16, 16);
  const { data } = pen.getImageData(0, 0, 16, 16);
  const colour = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) colour[c] += data[i + c] / 256;
  return { colour: colour.map(Math.round), frames: screen.getVideoPlaybackQuality().totalVideoFrames, width, height };
}

/** Only this codec of video is offered and answered, with its repairs. */
export function restrictVideo(name) {
  const codecs = RTCRtpReceiver.getCapabilities("video").codecs;
  const kept = codecs.filter((c) => [name, "rtx"].includes(c.mimeType.split("/")[1].toLowerCase()));
  for (const method of ["createOffer", "createAnswer"]) {
    const create = RTCPeerConnection.prototype[method];
    RTCPeerConnection.prototype[method] = function (...args) {
      for (const transceiver of this.getTransceivers()) {
        if (transceiver.receiver.track.kind === "video" && transceiver.direction !== "stopped") transceiver.setCodecPreferences(kept);
      }
      return create.apply(this, args);
    };
  }
}

/** Takes from what the far side describes that it hears estimates: none is sent to it. */
export function keepEstimates() {
  const set = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return set.call(this, { type, sdp: sdp.replace(/a=rtcp-fb:\S+ goog-remb\r\n/g, "") });
  };
}

/** What the connection says of its video, in and out. */
export async function figures(connection) {
  const report = await connection.getStats();
  const transport = [...report.values()].find((s) => s.type === "transport");
  const out = { carries: report.get(transport?.selectedCandidatePairId)?.availableOutgoingBitrate };
  for (const entry of report.values()) {
    const codec = report.get(entry.codecId)?.mimeType;
    if (entry.kind !== "video") continue;
    if (entry.type === "inbound-rtp") out.in = { codec, decoded: entry.framesDecoded, pli: entry.pliCount, nack: entry.nackCount, repaired: entry.retransmittedPacketsReceived };
    if (entry.type === "outbound-rtp") out.out = { codec, sent: entry.framesSent, pli: entry.pliCount, nack: entry.nackCount, bitrate: entry.targetBitrate };
  }
  return out;
}
