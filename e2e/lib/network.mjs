// Two hosts with a wire between them and a firewall before one: network namespaces of our own. Needs root.
import { spawnSync } from "node:child_process";
import { PROGRAM_LIMIT } from "./limits.mjs";
import { until } from "./wait.mjs";

const FAR = "10.77.0.1";
const NEAR = "10.77.0.2";

export class Network {
  /** `far.address` is where the gateway may listen; `near` is behind the firewall once there is one. */
  static async start() {
    const id = `${process.pid}${++Network.count}`;
    const network = new Network(new Namespace(`cxf${id}`, FAR), new Namespace(`cxn${id}`, NEAR));
    const [far, near] = [network.far, network.near];
    run("ip", "netns", "add", far.name);
    run("ip", "netns", "add", near.name);
    run("ip", "-n", far.name, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", near.name);
    for (const { name, address } of [far, near]) {
      // The kernel would give the wire an address of its own some seconds from now, and Chromium gives up what it is doing when an address comes.
      run("ip", "-n", name, "link", "set", "wire", "addrgenmode", "none");
      run("ip", "-n", name, "address", "add", `${address}/24`, "dev", "wire");
      run("ip", "-n", name, "link", "set", "wire", "up");
      run("ip", "-n", name, "link", "set", "lo", "up");
      // What is nowhere is refused at once only where there is a route to it.
      run("ip", "-n", name, "route", "add", "default", "via", name === far.name ? NEAR : FAR);
    }
    await until("the wire is up", () => [far, near].every(({ name }) => JSON.parse(run("ip", "-j", "-n", name, "link", "show", "wire"))[0].operstate === "UP"));
    return network;
  }

  static count = 0;

  constructor(far, near) {
    Object.assign(this, { far, near });
  }

  /** From here on nothing but this TCP port of the far host is reached from the near one, nor answers it. */
  allowOnly(port) {
    const rules = (hook, from, to) => `
      chain ${hook} {
        type filter hook ${hook} priority 0; policy drop;
        ${hook === "output" ? "oif" : "iif"} lo accept
        ip ${from} ${FAR} tcp ${to} ${port} accept
        meta l4proto udp counter name swallowed drop
      }`;
    this.near.run(["nft", "-f", "-"], `table inet wall {
      counter swallowed { }
      ${rules("output", "daddr", "dport")}
      ${rules("input", "saddr", "sport")}
    }`);
  }

  /** From here on the wire carries so much from this host, in kbit/s, with a queue of 300 ms; 0 for as much as ever. */
  narrow(host, carries) {
    const line = carries ? ["tbf", "rate", `${carries}kbit`, "burst", "8k", "latency", "300ms"] : ["pfifo", "limit", "1000"];
    host.run(["tc", "qdisc", "replace", "dev", "wire", "root", ...line]);
  }

  /** Gives a host another address and takes the one it had. */
  move(host, address) {
    const before = host.address;
    run("ip", "-n", host.name, "address", "add", `${address}/24`, "dev", "wire");
    run("ip", "-n", host.name, "address", "del", `${before}/24`, "dev", "wire");
    run("ip", "-n", host.name, "address", "replace", `${address}/24`, "dev", "wire");
    run("ip", "-n", host.name, "route", "replace", "default", "via", host === this.far ? this.near.address : this.far.address);
    host.address = address;
  }

  /** How many UDP packets the firewall has swallowed. */
  swallowed() {
    const listed = this.near.run(["nft", "-j", "list", "counters", "table", "inet", "wall"]);
    return JSON.parse(listed).nftables.find((entry) => entry.counter)?.counter.packets ?? 0;
  }

  stop() {
    for (const { name } of [this.far, this.near]) spawnSync("ip", ["netns", "del", name]);
  }
}

class Namespace {
  constructor(name, address) {
    Object.assign(this, { name, address, prefix: ["ip", "netns", "exec", name] });
  }

  run(command, input) {
    return run(...this.prefix, ...command, { input });
  }
}

function run(...command) {
  const options = typeof command.at(-1) === "object" ? command.pop() : {};
  const [program, ...args] = command;
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: PROGRAM_LIMIT, ...options });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}
