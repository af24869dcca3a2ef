// Certificates for callers: an authority, a network that it trusts, and a web server with the network's certificate.
import { spawnSync } from "node:child_process";
import { createPrivateKey, sign } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** TNAuthList with the provider code 1234 (RFC 8226 §9). */
const PROVIDER = "1.3.6.1.5.5.7.1.26=DER:30:08:A0:06:16:04:31:32:33:34";

const base64url = (data) => Buffer.from(data).toString("base64url");

export class Authority {
  static async start() {
    const folder = await mkdtemp(join(tmpdir(), "crosspoint-authority-"));
    const authority = new Authority(folder);
    authority.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key");
    authority.#openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=authority", "-days", "30", "-out", "ca.pem");
    await authority.#certify("shaken", PROVIDER);
    await authority.#certify("web", "subjectAltName=DNS:localhost");
    authority.shaken = await readFile(authority.file("shaken.pem"));
    const [key, cert] = await Promise.all(["web.key", "web.pem"].map((name) => readFile(authority.file(name))));
    authority.fetched = 0;
    authority.server = createServer({ key, cert }, (request, response) => {
      authority.fetched += 1;
      response.setHeader("Cache-Control", "max-age=3600").end(authority.shaken);
    });
    await new Promise((resolve) => authority.server.listen(0, "127.0.0.1", resolve));
    authority.url = `https://localhost:${authority.server.address().port}/shaken.pem`;
    return authority;
  }

  constructor(folder) {
    this.folder = folder;
  }

  file(name) {
    return join(this.folder, name);
  }

  /** The value of an Identity header, by the RFCs and not by our own code. `break` spoils the signature. */
  async identity({ orig, dest, attest = "A", age = 0, spoilt = false }) {
    const header = { alg: "ES256", ppt: "shaken", typ: "passport", x5u: this.url };
    const payload = { attest, dest: { tn: [dest] }, iat: Math.floor(Date.now() / 1000) - age, orig: { tn: orig }, origid: "elsewhere-1" };
    const signed = [header, payload].map((part) => base64url(JSON.stringify(part))).join(".");
    const key = createPrivateKey(await readFile(this.file("shaken.key")));
    const signature = sign("sha256", Buffer.from(spoilt ? `${signed}x` : signed), { key, dsaEncoding: "ieee-p1363" });
    return `${signed}.${base64url(signature)};info=<${this.url}>;alg=ES256;ppt=shaken`;
  }

  async #certify(name, extension) {
    await writeFile(this.file(`${name}.ext`), extension);
    this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", `${name}.key`);
    this.#openssl("req", "-new", "-key", `${name}.key`, "-subj", `/CN=${name}`, "-out", `${name}.csr`);
    this.#openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
      "-days", "30", "-extfile", `${name}.ext`, "-out", `${name}.pem`);
  }

  #openssl(...args) {
    const run = spawnSync("openssl", args, { cwd: this.folder, encoding: "utf8" });
    if (run.status !== 0) throw new Error(`openssl ${args.join(" ")}: ${run.stderr}`);
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await rm(this.folder, { recursive: true, force: true });
  }
}
