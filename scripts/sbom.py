#!/usr/bin/env python3
"""Writes what the binary is made of as CycloneDX 1.5: each library with version, licence, checksum and who needs it.

`cargo metadata` knows all of this. What only tests, benches and the build need is not in the binary and not in the list.
The same source makes the same bytes: the time is SOURCE_DATE_EPOCH, the serial number comes of the content.
"""

import argparse
import datetime
import json
import os
import subprocess
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "crosspoint-gateway"


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def host():
    lines = subprocess.run(["rustc", "-vV"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def linked(metadata):
    """The packages that the program is linked with, each with what it needs itself."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    start = next(package["id"] for package in metadata["packages"] if package["name"] == PROGRAM)
    macros = {p["id"] for p in metadata["packages"] if any("proc-macro" in t["kind"] for t in p["targets"])}
    found, waiting = {}, [start]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        needs = [
            dep["pkg"]
            for dep in nodes[at]["deps"]
            if dep["pkg"] not in macros and any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]
        found[at] = sorted(needs)
        waiting.extend(needs)
    return start, found


def component(package, checksums, kind="library"):
    name, version = package["name"], package["version"]
    shown = {"type": kind, "bom-ref": reference(package), "name": name, "version": version}
    if package.get("description"):
        shown["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Before SPDX expressions a slash stood for OR.
        shown["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["source"]:
        shown["purl"] = f"pkg:cargo/{name}@{version}"
    if checksum := checksums.get((name, version)):
        shown["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        shown["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return shown


def reference(package):
    return f"{package['name']}@{package['version']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", required=True, help="of the program")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    metadata = json.loads(cargo("metadata", "--format-version=1", "--locked", "--filter-platform", host()))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    packages = {package["id"]: package for package in metadata["packages"]}
    start, found = linked(metadata)
    time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    program = component(packages[start], checksums, "application") | {"name": "crosspoint", "version": options.version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": program},
        "components": sorted(
            (component(packages[key], checksums) for key in found if key != start), key=lambda c: c["bom-ref"]
        ),
        "dependencies": sorted(
            (
                {"ref": reference(packages[key]), "dependsOn": sorted(reference(packages[d]) for d in needs)}
                for key, needs in found.items()
            ),
            key=lambda d: d["ref"],
        ),
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    Path(options.output).write_text(json.dumps(document, indent=1) + "\n")


main()
