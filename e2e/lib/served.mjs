// A media server behind each gateway of the tests, where whoever runs them asks for one:
// CROSSPOINT_E2E_MEDIA_SERVER=crosspoint or rtpengine. So the same stories are played with media on another machine.
import { freePort } from "./ports.mjs";
import { until } from "./wait.mjs";

export const KIND = process.env.CROSSPOINT_E2E_MEDIA_SERVER;

/** A server that is up, and what has to be in the configuration for it; undefined if none is wanted, or not here. */
export async function served({ config, media, host, namespace }) {
  // Gateways elsewhere than on 127.0.0.1 have their media there, too, and some tests bring servers of their own.
  if (!KIND || namespace || host !== "127.0.0.1" || media || config.includes("[[media_server]]")) return undefined;
  const { MediaServer, Rtpengine } = await import("./media-server.mjs");
  const dtmfLog = await freePort();
  const server = await { crosspoint: MediaServer, rtpengine: Rtpengine }[KIND].start({ dtmfLog });
  return {
    media: `dtmf_listen = "127.0.0.1:${dtmfLog}"\n`,
    config: `\n[[media_server]]\naddress = "127.0.0.1:${server.port()}"\n`,
    /** Whoever calls before it was found healthy has the gateway's own media. */
    isUsed: (gateway) => until("the media server is healthy", async () => (await gateway.metric("crosspoint_media_servers", { state: "healthy" })) === 1),
    stop: () => server.stop(),
  };
}

/** A test that cannot be with this kind of server, and why not; `false` where it can. */
export const unlessOver = (kind, why) => (KIND === kind || (KIND && kind === "any") ? why : false);
