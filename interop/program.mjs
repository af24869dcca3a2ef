// Which peers are here.
import { spawnSync } from "node:child_process";

/** Name and version of an installed Debian package, or null. */
export function installed(name) {
  const { status, stdout } = spawnSync("dpkg-query", ["-W", "-f", "${db:Status-Abbrev} ${Version}", name], { encoding: "utf8" });
  const [state, version] = (stdout ?? "").trim().split(/\s+/);
  return status === 0 && state === "ii" ? `Debian's \`${name}\` ${version}` : null;
}
