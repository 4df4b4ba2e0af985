// One tab for each step: NN-name.graphql, and its variables in NN-name.json.
const queries = import.meta.glob("./tour/*.graphql", { query: "?raw", import: "default", eager: true });
const variables = import.meta.glob("./tour/*.json", { query: "?raw", import: "default", eager: true });

export const tour = Object.keys(queries)
  .sort()
  .map((path) => ({
    query: queries[path],
    variables: variables[path.replace(/\.graphql$/, ".json")]?.trimEnd() ?? null,
  }));
