// Builds the web phone into dist/, which is checked in so that the gateway builds without Node.js.
import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";

await mkdir("dist", { recursive: true });
await build({
  entryPoints: ["src/main.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  outfile: "dist/phone.js",
  legalComments: "inline",
});
await cp("src/index.html", "dist/index.html");
await cp("src/phone.css", "dist/phone.css");
