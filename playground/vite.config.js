import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

const SOURCES = ["index.html", "package-lock.json", "package.json", "src", "vite.config.js"];

// Everything but index.html lives below /playground/, under names that carry a hash of the content.
export default defineConfig({
  base: "/playground/",
  oxc: { jsx: { runtime: "automatic" } },
  plugins: [noteSources()],
  worker: { plugins: () => [mendVariables()] },
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

// Both make the editor of variables underline what is right: an input field with a default may be left out, and a scalar
// of the schema's own, such as JSON, may be anything.
const MENDED = [
  ["if (fieldRequired) {", "if (fieldRequired && field.defaultValue === undefined) {"],
  ["['string', 'number', 'boolean', 'integer']", "['string', 'number', 'boolean', 'integer', 'object', 'array']"],
];

/** Mends the JSON schema that graphql-language-service makes of an operation's variables. */
function mendVariables() {
  return {
    name: "mend-variables",
    transform(code, id) {
      if (!id.endsWith("graphql-language-service/esm/utils/getVariablesJSONSchema.js")) {
        return null;
      }
      return MENDED.reduce((text, [before, after]) => {
        if (!text.includes(before)) {
          this.error(`graphql-language-service has changed: look whether variables still have to be mended (${before}).`);
        }
        return text.replace(before, after);
      }, code);
    },
  };
}

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
