import { defineConfig } from "vite";

// Everything but index.html lives below /playground/, under names that carry a hash of the content.
export default defineConfig({
  base: "/playground/",
  oxc: { jsx: { runtime: "automatic" } },
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
