// OpenSIPS: not to be had.
export const peer = {
  name: "OpenSIPS",
  absent: "Not available from Debian 12, which has no package `opensips`.",
};
