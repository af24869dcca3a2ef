// Asterisk: not to be had.
export const peer = {
  name: "Asterisk",
  absent: "Not available from Debian 12, which has no package `asterisk`. What its side of the README's trunk section does is played by sipp in `e2e/tests/readme-trunks.test.mjs`.",
};
