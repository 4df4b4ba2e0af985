// Lints the schema in the file that is named: the recommended rules of graphql-eslint, those of Relay, and a description
// for everything that can have one. Prints a JSON list: rule, line and message of each fault.

import { readFileSync } from "node:fs";
import { ESLint } from "eslint";
import graphql from "@graphql-eslint/eslint-plugin";

const [path] = process.argv.slice(2);
const eslint = new ESLint({
  overrideConfigFile: true,
  overrideConfig: {
    files: ["**/*.graphql"],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: path } } },
    plugins: { "@graphql-eslint": graphql },
    rules: {
      ...graphql.configs["flat/schema-recommended"].rules,
      ...graphql.configs["flat/schema-relay"].rules,
      // Cursors lead forward alone where the source of a list does: `first` and `after`, or `last` and `before`, or both.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
      // `nodes` is a list of what the edges hold, and there are lists that are no connections. Entries of a workspace
      // and changes to it are no objects of their own: their workspace is asked for them again, by path.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false, shouldImplementNode: false }],
      // What can't be asked for again lies inside something that can, or passes by.
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          exceptions: {
            suffixes: ["Connection", "Edge", "Payload", "Error"],
            types: [
              "Attachment",
              "Commit",
              "ConversationStatusChange",
              "DeleteConversationsResult",
              "Download",
              "FileChange",
              "MessageDelta",
              "PageInfo",
              "Problem",
              "PushedBranch",
              "TokenUsage",
              "ToolOutputDelta",
              "UpdateConversationsResult",
              "Upload",
              "WorkspaceChange",
              "WorkspaceDirectory",
              "WorkspaceFile",
              "WorkspaceLink",
            ],
          },
        },
      ],
      "@graphql-eslint/require-description": [
        "error",
        {
          types: true,
          rootField: true,
          FieldDefinition: true,
          InputValueDefinition: true,
          EnumValueDefinition: true,
        },
      ],
    },
  },
});
// By its text, since ESLint ignores files outside the folder that it works in.
const [result] = await eslint.lintText(readFileSync(path, "utf8"), { filePath: "schema.graphql" });
console.log(JSON.stringify(result.messages.map(({ ruleId, line, message }) => ({ rule: ruleId, line, message }))));
