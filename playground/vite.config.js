import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

const SOURCES = ["index.html", "package-lock.json", "package.json", "src", "vite.config.js"];

// Everything but index.html lives below /playground/, under names that carry a hash of the content.
export default defineConfig({
  base: "/playground/",
  oxc: { jsx: { runtime: "automatic" } },
  plugins: [noteSources()],
  build: {
    outDir: "../app/static/playground",
    emptyOutDir: true,
    sourcemap: false,
    target: "es2022",
    // The editor is one large chunk by nature; it is loaded after the page is shown.
    chunkSizeWarningLimit: 5000,
    rolldownOptions: {
      // "use client" in dependencies speaks to server rendering, which there is none of.
      onwarn: (warning, report) => warning.code === "MODULE_LEVEL_DIRECTIVE" || report(warning),
    },
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
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`);
}
