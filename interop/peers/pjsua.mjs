// pjsua: not to be had.
export const peer = {
  name: "pjsua",
  absent: "Not available from Debian 12, which has no package of pjproject; `pjsua2` on PyPI is bindings only, which build within pjproject's sources.",
};
