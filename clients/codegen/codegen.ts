import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "src/codegen/**/*.ts",
  ignoreNoDocuments: false,
  generates: {
    "src/codegen/generated/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: {
        // Node and erasableSyntaxOnly have no enums of TypeScript.
        enumsAsTypes: true,
        useTypeImports: true,
        importExtension: ".ts",
        strictScalars: true,
        scalars: { DateTime: "string", JSON: "unknown", Long: "number", Secret: "string", URI: "string" },
      },
    },
  },
};

export default config;
