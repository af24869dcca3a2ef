// Builds the web phone and the console into dist/, which is checked in so that the gateway builds without Node.js.
// The SDK is taken from its source in this repository.
import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";

await mkdir("dist", { recursive: true });
const script = (from, to) =>
  build({
    entryPoints: [from],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    alias: { "@crosspoint/client": "../sdk/js/src/index.ts" },
    outfile: to,
    legalComments: "inline",
  });
await script("src/main.tsx", "dist/phone.js");
await build({ entryPoints: ["src/phone.css"], minify: true, outfile: "dist/phone.css" });
await cp("src/index.html", "dist/index.html");
await script("src/console/main.tsx", "dist/console.js");
await build({ entryPoints: ["src/console/console.css"], minify: true, outfile: "dist/console.css" });
await cp("src/console/console.html", "dist/console.html");
