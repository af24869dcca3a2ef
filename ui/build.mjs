// Builds the web phone into dist/, which is checked in so that the gateway builds without Node.js.
// The SDK is taken from its source in this repository.
import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";

await mkdir("dist", { recursive: true });
await build({
  entryPoints: ["src/main.tsx"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  alias: { "@crosspoint/client": "../sdk/js/src/index.ts" },
  outfile: "dist/phone.js",
  legalComments: "inline",
});
await build({ entryPoints: ["src/phone.css"], minify: true, outfile: "dist/phone.css" });
await cp("src/index.html", "dist/index.html");
