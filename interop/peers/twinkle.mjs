// Twinkle's console, a desk phone.
import { Twinkle } from "../../e2e/lib/twinkle.mjs";
import { USERS } from "../../e2e/lib/world.mjs";
import { phonePeer } from "../phone.mjs";
import { installed } from "../program.mjs";

export const peer = phonePeer({
  name: "Twinkle",
  role: "A phone that signs in with us, and a trunk; its sound card is a PulseAudio without a device.",
  missing: "Debian packages `twinkle-console`, `pulseaudio`, `pulseaudio-utils` and `libasound2-plugins` are not installed.",
  version: () => (installed("pulseaudio-utils") && installed("libasound2-plugins") && installed("pulseaudio") ? installed("twinkle-console") : null),
  sendsInfo: true,
  async start(it, user, { gateway = it.gateway, password = USERS[user].password, early, dtmf, ...options } = {}) {
    const phone = it.keep(await Twinkle.start({ gateway, user, password, dtmf: dtmf === "info" ? "info" : "rfc2833", ...options }));
    if (password) await phone.registered();
    return phone;
  },
  lacks: {
    tls: "it knows UDP and TCP only",
    "session-refresh": "it has no session timers",
    "new-address": "it looks at its address when it starts only",
  },
});
