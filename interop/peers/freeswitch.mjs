// FreeSWITCH: not to be had.
export const peer = {
  name: "FreeSWITCH",
  absent: "Not available from Debian 12, which has no package `freeswitch`; its makers' own packages want an account.",
};
