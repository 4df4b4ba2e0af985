import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";

import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./style.css";
import "./workers.js";
import { createAuthorization } from "./authorization.js";
import { createFetcher } from "./fetcher.js";
import { createStorage } from "./storage.js";
import { tour } from "./tour.js";

const storage = createStorage(window.localStorage);
const authorization = createAuthorization(window.sessionStorage);
const plugins = [HISTORY_PLUGIN, explorerPlugin({ showAttribution: false })];
// GraphiQL takes the first tab's query from the default tabs, but not its variables.
const firstVariables = storage.getItem("graphiql:tabState") === null ? tour[0].variables : undefined;

const NEW_TAB = "# The docs, at the top left, list every query, mutation and subscription.\n\n";

createRoot(document.getElementById("playground")).render(
  <GraphiQL
    fetcher={createFetcher(new URL("/graphql", window.location.href), authorization)}
    storage={storage}
    plugins={plugins}
    defaultTabs={tour}
    initialVariables={firstVariables}
    defaultQuery={NEW_TAB}
    defaultEditorToolsVisibility="variables"
    inputValueDeprecation
    schemaDescription
    // Headers carry bearer tokens: GraphiQL would keep them for good.
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>Parley</GraphiQL.Logo>
  </GraphiQL>,
);
