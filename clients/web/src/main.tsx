import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import "./style.css";
import { App } from "./app.tsx";
import { resumeSending } from "./conversation/outbox.ts";

const place = document.getElementById("app");
if (place === null) throw new Error("The page has no place for the app.");
resumeSending();
createRoot(place).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
