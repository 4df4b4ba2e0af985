// Compares two schemas: what clients of the first lose with the second, and whether the changelog says so.
// Arguments: the released schema, the schema now, the changelog. Prints a JSON list of the breaking changes that the
// changelog does not name: the path (as in `Conversation.title`) and what changed. A change is named by its path in
// backquotes, under "Changed" or "Removed" of what is not yet released.

import { readFileSync } from "node:fs";
import { CriticalityLevel, diff } from "@graphql-inspector/core";
import { buildSchema } from "graphql";

const [released, current, changelog] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));

const unreleased = changelog.split(/^## /m).find((section) => section.startsWith("[Unreleased]")) ?? "";
const told = unreleased.split(/^### /m).filter((part) => /^(Changed|Removed)\n/.test(part));
const named = new Set([...told.join().matchAll(/`([^`\n]+)`/g)].map(([, name]) => name));

const changes = await diff(buildSchema(released), buildSchema(current));
const unnamed = changes
  .filter(({ criticality, path }) => criticality.level === CriticalityLevel.Breaking && !named.has(path))
  .map(({ path, message }) => ({ path, message }));
console.log(JSON.stringify(unnamed));
