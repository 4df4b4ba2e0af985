import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

const SOURCES = ["index.html", "package-lock.json", "package.json", "src", "vite.config.js"];
// Made from the schema for the type checker; nothing of it is in the build.
const GENERATED = "graphql-env.d.ts";

// Parley serves the build at /app. While one works on it, `npm run dev` passes requests on to a server.
export default defineConfig({
  base: "/app/",
  oxc: { jsx: { runtime: "automatic" } },
  plugins: [noteSources()],
  build: { outDir: "../../app/static/web", emptyOutDir: true, target: "es2022" },
  server: {
    proxy: { "/graphql": { target: process.env.PARLEY_URL ?? "http://127.0.0.1:8000", ws: true, changeOrigin: true } },
  },
});

/** Notes what was built, so that a test can tell, without building, whether the committed build is of these sources. */
function noteSources() {
  return {
    name: "note-sources",
    generateBundle() {
      const paths = SOURCES.flatMap((path) => (path.includes(".") ? path : filesBelow(path))).sort();
      const digests = paths.map((path) => `${createHash("sha256").update(readFileSync(path)).digest("hex")}  ${path}\n`);
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: digests.join("") });
    },
  };
}

function filesBelow(directory) {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== GENERATED)
    .map((entry) => `${entry.parentPath}/${entry.name}`);
}
