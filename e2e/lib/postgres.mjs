// A PostgreSQL server of a test's own, in a folder of its own, on a free port of the loopback address.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.mjs";
import { until } from "./wait.mjs";

/** The programs of the newest version that is installed. */
function programs() {
  const versions = readdirSync("/usr/lib/postgresql").sort((a, b) => Number(a) - Number(b));
  return join("/usr/lib/postgresql", versions.at(-1), "bin");
}

/** It refuses to run as root: then it runs as the user that its package made. */
function somebody() {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  return { uid: id("-u"), gid: id("-g") };
}

export class Postgres {
  static async start({ password = "calls-secret" } = {}) {
    const postgres = new Postgres(mkdtempSync(join(tmpdir(), "crosspoint-postgres-")), await freePort(), password);
    writeFileSync(join(postgres.folder, "password"), `${password}\n`, { mode: 0o644 });
    postgres.#run("initdb", ["-D", postgres.data, "-U", "calls", "-A", "scram-sha-256", "--pwfile=password", "--no-sync", "-E", "UTF8", "--locale=C"]);
    await postgres.resume();
    return postgres;
  }

  constructor(folder, port, password) {
    Object.assign(this, { folder, port, password, bin: programs(), who: somebody() });
    if (this.who.uid !== undefined) chownSync(folder, this.who.uid, this.who.gid);
    chmodSync(folder, 0o700);
    this.data = join(folder, "data");
  }

  /** Of the database that comes with it. */
  get url() {
    return `postgres://calls@127.0.0.1:${this.port}/postgres`;
  }

  #run(program, args) {
    const { status, stderr, error } = spawnSync(join(this.bin, program), args, { ...this.who, cwd: this.folder, encoding: "utf8", timeout: 60_000 });
    if (status !== 0) throw new Error(`${program}: ${error ?? ""}${stderr}`);
  }

  /** Starts it where its data is. */
  async resume() {
    const args = ["-D", this.data, "-p", String(this.port), "-h", "127.0.0.1", "-k", this.folder, "-c", "fsync=off"];
    this.process = spawn(join(this.bin, "postgres"), args, { ...this.who, cwd: this.folder, stdio: "ignore" });
    this.exited = new Promise((resolve) => this.process.once("exit", resolve));
    await until("PostgreSQL answers", () => this.ask("SELECT 1") !== null);
  }

  /** What a question gives, a line for each row; null when it does not answer. */
  ask(sql) {
    const env = { ...process.env, PGPASSWORD: this.password };
    const args = ["-h", "127.0.0.1", "-p", String(this.port), "-U", "calls", "-d", "postgres", "-Atqc", sql];
    const { status, stdout } = spawnSync("psql", args, { env, encoding: "utf8", timeout: 20_000 });
    return status === 0 ? stdout.trim().split("\n").filter(Boolean) : null;
  }

  /** Ends it; its data stays. */
  async pause() {
    this.process.kill("SIGINT");
    await this.exited;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.pause();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
