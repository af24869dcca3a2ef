// What is handed out: the Debian package and the tarball, made of the binary that the other tests run.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { binary } from "../lib/gateway.mjs";
import { PROGRAM_LIMIT } from "../lib/limits.mjs";
import { end } from "../lib/wait.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Packing and installing a binary of this size, and setting some thirty pages, is much work for one program. */
const LIMIT = 4 * PROGRAM_LIMIT;
let folder;
let packed;
let tree;

/** What a program prints; it has to end well. */
function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", timeout: LIMIT, cwd: root, ...options });
  assert.equal(result.status, 0, `${command} ${args.join(" ")}: ${result.error ?? ""}\n${result.stdout}${result.stderr}`);
  return result.stdout + result.stderr;
}
const has = (command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "crosspoint-packaging-"));
  tree = join(folder, "tree");
  const made = run("scripts/package.sh", ["--fast", "--binary", binary, "--out", folder, "deb"]);
  packed = made.trim().split("\n").pop();
  run("dpkg-deb", ["-x", packed, tree]);
});
after(() => rm(folder, { recursive: true, force: true }));

test("the package has the version of the source and everything that belongs to a service", async () => {
  const version = /^version = "(.*)"$/m.exec(await readFile(join(root, "Cargo.toml"), "utf8"))[1];
  const fields = run("dpkg-deb", ["--field", packed]);
  assert.match(fields, new RegExp(`^Version: ${version}$`, "m"));
  assert.match(fields, /^Depends: adduser, libc6 \(>= 2\.\d+\), libgcc-s1$/m);
  const listed = run("dpkg-deb", ["--contents", packed]);
  const doc = "./usr/share/doc/crosspoint/";
  for (const file of ["./usr/bin/crosspoint", "./etc/crosspoint/crosspoint.toml", "./lib/systemd/system/crosspoint.service", "./usr/share/man/man1/crosspoint.1.gz", "./usr/share/man/man1/crosspoint-user-add.1.gz", "./usr/share/bash-completion/completions/crosspoint", "./usr/share/zsh/vendor-completions/_crosspoint", "./usr/share/fish/vendor_completions.d/crosspoint.fish", `${doc}copyright`, `${doc}changelog.gz`, `${doc}crosspoint.cdx.json.gz`]) {
    assert.match(listed, new RegExp(` root/root .* ${RegExp.escape?.(file) ?? file.replaceAll(".", "\\.")}$`, "m"), file);
  }
  assert.equal(run("dpkg-deb", ["--info", packed, "conffiles"]).trim(), "/etc/crosspoint/crosspoint.toml");
  assert.match(run(join(tree, "usr/bin/crosspoint"), ["--version"]), new RegExp(`^crosspoint ${version} \\(.+\\)\n$`));
});

test("what BOLT has laid out is packed as it is: binutils would break it", async () => {
  const marked = join(folder, "marked");
  run("objcopy", ["--add-section", ".note.bolt_info=/etc/hostname", binary, marked]);
  const tarball = run("scripts/package.sh", ["--fast", "--binary", marked, "--out", folder, "tar"]).trim().split("\n").pop();
  const unpacked = join(folder, "unpacked");
  await mkdir(unpacked);
  run("tar", ["-xzf", tarball, "-C", unpacked, "--strip-components=1"]);
  run("cmp", [marked, join(unpacked, "usr/bin/crosspoint")]);
});

test("systemd understands the unit, and exposes little", { skip: !has("systemd-analyze") }, async () => {
  const etc = join(folder, "system");
  await mkdir(etc, { recursive: true });
  // The file as packaged, with the binary where it is here.
  const unit = await readFile(join(tree, "lib/systemd/system/crosspoint.service"), "utf8");
  const file = join(etc, "crosspoint.service");
  await writeFile(file, unit.replaceAll("/usr/bin/crosspoint", join(tree, "usr/bin/crosspoint")));
  assert.equal(run("systemd-analyze", ["verify", "--man=no", "--recursive-errors=no", file]), "");
  const exposed = run("systemd-analyze", ["security", "--offline=yes", "--no-pager", file]);
  const level = Number(/Overall exposure level.*: ([\d.]+)/.exec(exposed)[1]);
  assert.ok(level <= 4, exposed);
});

test("the packaged binary takes the packaged configuration and answers from the unpacked tree", async () => {
  const program = join(tree, "usr/bin/crosspoint");
  const text = await readFile(join(tree, "etc/crosspoint/crosspoint.toml"), "utf8");
  assert.match(text, /^data = "\/var\/lib\/crosspoint"$/m);
  const file = join(folder, "crosspoint.toml");
  await writeFile(file, text);
  const place = ["--config", file, "--data", join(folder, "data")];
  run(program, ["check", ...place]);
  const free = ["--https", "--sip-udp", "--sip-tcp", "--sip-tls", "--media-browser"].flatMap((kind) => [kind, "127.0.0.1:0"]);
  const process = spawn(program, ["run", "--no-users", "--json", ...place, ...free], { stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise((resolve) => process.once("exit", resolve));
  try {
    const ready = await new Promise((resolve, reject) => {
      createInterface({ input: process.stdout }).on("line", (line) => line.includes('"ready"') && resolve(JSON.parse(line)));
      exited.then((code) => reject(new Error(`exited with ${code}`)));
    });
    assert.deepEqual(ready.users ?? [], []);
    const port = ready.listeners.find(({ kind }) => kind === "https").address.split(":").pop();
    assert.equal(await asked(port, "/healthz"), 200);
    assert.equal(await asked(port, "/readyz"), 200);
  } finally {
    await end(process, exited);
  }
});

const asked = (port, path) =>
  new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, rejectUnauthorized: false }, (response) => resolve(response.resume().statusCode)).on("error", reject).end();
  });

test("the manual pages are without fault", { skip: !has("man") }, async () => {
  const pages = await readdir(join(tree, "usr/share/man/man1"));
  assert.ok(pages.length > 10, pages.join());
  const env = { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "80" };
  const result = spawnSync("man", ["--warnings", "-l", ...pages], { encoding: "utf8", env, cwd: join(tree, "usr/share/man/man1"), timeout: LIMIT });
  assert.deepEqual([result.status, result.stderr], [0, ""]);
  assert.equal(result.stdout.match(/^SYNOPSIS/gm).length, pages.length);
  assert.match(result.stdout, /crosspoint-user\(1\)[\s\S]*EXIT STATUS/);
});

test("shells complete commands and options", () => {
  const bash = `. usr/share/bash-completion/completions/crosspoint
    completed() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _crosspoint crosspoint "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"; echo "\${COMPREPLY[*]}"; }
    completed crosspoint rou; completed crosspoint user pas; completed crosspoint user add --al`;
  assert.equal(run("bash", ["-c", bash], { cwd: tree }), "route-test\npasswd\n--alias\n");
  const others = { zsh: "usr/share/zsh/vendor-completions/_crosspoint", fish: "usr/share/fish/vendor_completions.d/crosspoint.fish" };
  for (const [shell, script] of Object.entries(others)) if (has(shell)) run(shell, ["-n", join(tree, script)]);
  if (has("fish")) {
    assert.match(run("fish", ["--no-config", "-c", `source ${others.fish}; complete --do-complete "crosspoint rou"`], { cwd: tree }), /^route-test\t/);
  }
});

// A system of its own that begins as a copy of this one: what is installed there is nobody's business here.
const inCopy = (script) => `set -e
  mount -t tmpfs none ${folder}/copy; cd ${folder}/copy; mkdir upper work root
  mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
  mount -t proc none root/proc; mount --bind ${folder} root/mnt
  chroot root sh -euc '${script}'`;

test("it installs on a machine without systemd, keeps the data when removed, and leaves nothing when purged", async (t) => {
  await mkdir(join(folder, "copy"), { recursive: true });
  const copied = (script) => spawnSync("unshare", ["--mount", "sh", "-c", inCopy(script)], { encoding: "utf8", timeout: LIMIT });
  const can = copied("test ! -d /run/systemd/system && command -v adduser deluser deb-systemd-helper");
  if (can.status !== 0) return t.skip(`there is no copy of this machine to install on: ${can.stderr}`);
  await copyFile(packed, join(folder, "crosspoint.deb"));
  const result = copied(`
    export DEBIAN_FRONTEND=noninteractive
    alias dpkg="dpkg --no-triggers --force-unsafe-io"
    dpkg -i /mnt/crosspoint.deb >&2
    getent passwd crosspoint | cut -d: -f1,6,7
    stat -c "%U %a" /var/lib/crosspoint
    setpriv --reuid crosspoint --regid crosspoint --clear-groups crosspoint init --no-users --config /etc/crosspoint/crosspoint.toml >&2
    setpriv --reuid crosspoint --regid crosspoint --clear-groups crosspoint user add alice --config /etc/crosspoint/crosspoint.toml >&2
    echo "# mine" >> /etc/crosspoint/crosspoint.toml
    dpkg -i /mnt/crosspoint.deb >&2
    tail -n 1 /etc/crosspoint/crosspoint.toml
    dpkg -r crosspoint >&2
    test -s /var/lib/crosspoint/store.db && test -s /etc/crosspoint/crosspoint.toml && ! test -e /usr/bin/crosspoint && echo kept
    dpkg -P crosspoint >&2
    ls -d /var/lib/crosspoint /etc/crosspoint /lib/systemd/system/crosspoint.service /etc/systemd/system/*/crosspoint.service 2>/dev/null || true
    getent passwd crosspoint || echo gone`);
  assert.equal(result.stdout, "crosspoint:/var/lib/crosspoint:/usr/sbin/nologin\ncrosspoint 700\n# mine\nkept\ngone\n", result.stderr);
  assert.equal(result.status, 0, result.stderr);
});

test("the tarball has the same, and the list of what is in the binary is whole", async () => {
  const made = run("scripts/package.sh", ["--fast", "--binary", binary, "--out", folder, "tar"]).trim().split("\n").pop();
  const listed = run("tar", ["-tzf", made]);
  for (const file of ["usr/bin/crosspoint", "usr/lib/systemd/system/crosspoint.service", "usr/share/doc/crosspoint/LICENSE-MIT"]) assert.ok(listed.includes(`/${file}\n`), file);
  const list = JSON.parse(run("gzip", ["-dc", join(tree, "usr/share/doc/crosspoint/crosspoint.cdx.json.gz")]));
  assert.deepEqual([list.bomFormat, list.specVersion, list.metadata.component.name], ["CycloneDX", "1.5", "crosspoint"]);
  const known = new Set(list.components.map((one) => one["bom-ref"]).concat(list.metadata.component["bom-ref"]));
  for (const { ref, dependsOn } of list.dependencies) for (const needed of dependsOn) assert.ok(known.has(needed), `${ref} needs ${needed}`);
  for (const name of ["tokio", "rustls", "dimpl"]) assert.ok(list.components.some((one) => one.name === name && one.hashes && one.licenses), name);
  assert.ok(!list.components.some((one) => one.name === "tempfile" || one.name === "protox"), "what only builds and tests is not in the binary");
});

test("a binary that needs more than the C library is not packed", () => {
  const result = spawnSync("scripts/package.sh", ["--fast", "--binary", "/usr/bin/openssl", "--out", folder, "deb"], { encoding: "utf8", cwd: root, timeout: LIMIT });
  assert.equal(result.status, 1);
  assert.match(result.stderr, /libcrypto|libssl/);
});
