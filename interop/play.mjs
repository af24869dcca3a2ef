// What the plays of all peers share: their stage, and what they may say at the end.
import { certificates } from "../e2e/lib/certificates.mjs";
import { BROWSER_TONE, stage } from "../e2e/lib/world.mjs";

/** Thrown by a play that finds that the peer cannot do it. */
export class Cannot extends Error {}

/** A play for what the peer cannot do, and why. */
export const cannot = (why) => async () => {
  throw new Cannot(why);
};

/** A gateway with these trunks and a certificate of a private authority, and a browser; both are up when `play` runs. */
export async function onStage({ trunks = "", withoutBrowser = false }) {
  const file = certificates();
  const it = stage({
    withoutBrowser,
    config: `
[tls]
certificate = "${file("ours.pem")}"
key = "${file("ours.key")}"
${typeof trunks === "function" ? trunks(file) : trunks}`,
  });
  await it.setUp();
  return Object.assign(it, { file, page: (user) => it.browser("jssip", user, { digits: true }) });
}

/** Two browsers hear each other. */
export async function pagesHear(...pages) {
  await Promise.all(pages.map((page) => page.hears(BROWSER_TONE)));
}
