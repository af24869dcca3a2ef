// Linphone's console, a desk phone.
import { Linphone } from "../../e2e/lib/linphone.mjs";
import { USERS } from "../../e2e/lib/world.mjs";
import { phonePeer } from "../phone.mjs";
import { installed } from "../program.mjs";

export const peer = phonePeer({
  name: "Linphone",
  role: "A phone that signs in with us, and a trunk.",
  missing: "Debian package `linphone-cli` is not installed.",
  version: () => installed("linphone-cli"),
  playsEarly: true,
  checksCertificates: true,
  sendsInfo: true,
  playsOnHold: true,
  async start(it, user, { unregistered, gateway = it.gateway, password = USERS[user].password, ...options } = {}) {
    const phone = it.keep(await Linphone.start({ gateway, user, password, name: options.ca && "localhost", ...options }));
    if (password && !unregistered) await phone.registered();
    return phone;
  },
});
