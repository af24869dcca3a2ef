// Two private authorities, each with a certificate for the loopback address.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "./folder.mjs";

/**
 * Makes them, and gives the path of each file by its name: `ours-ca.pem` is our authority, `ours.pem` and `ours.key` a
 * certificate of it; `other*` are another authority's.
 */
export function certificates() {
  const folder = temporaryFolder("certificates");
  const run = (...args) => {
    const { status, stderr } = spawnSync("openssl", args, { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`openssl ${args.join(" ")}: ${stderr}`);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  writeFileSync(join(folder, "names"), "subjectAltName=IP:127.0.0.1,DNS:localhost,URI:sip:pbx.test\n");
  for (const name of ["ours", "other"]) {
    run("req", "-x509", ...key, "-keyout", `${name}-ca.key`, "-out", `${name}-ca.pem`, "-subj", `/CN=${name} authority`, "-days", "2");
    run("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", "/CN=127.0.0.1");
    run("x509", "-req", "-in", `${name}.csr`, "-CA", `${name}-ca.pem`, "-CAkey", `${name}-ca.key`, "-CAcreateserial", "-out", `${name}.pem`, "-days", "2", "-extfile", "names");
  }
  return (name) => join(folder, name);
}
