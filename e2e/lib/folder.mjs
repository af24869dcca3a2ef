// Folders for files of a test.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A new folder, which goes when this process ends however its tests did. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `crosspoint-${name}-`));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
