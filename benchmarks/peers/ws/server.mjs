// The peer of `fan_out` on Node: graphql-ws over ws, as its documentation shows, with a resolver without rows.
// At every line of its standard input it gives a change to all subscribers.
import { EventEmitter } from "node:events";
import { createInterface } from "node:readline";
import { buildSchema } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const schema = buildSchema(`
  scalar DateTime
  enum ConversationStatus { RUNNING STOPPED }
  type Problem { code: String! message: String! }
  type Conversation {
    id: ID! title: String! status: ConversationStatus! agentState: String statusReason: Problem updatedAt: DateTime!
  }
  type ConversationStatusChange {
    conversation: Conversation! previousStatus: ConversationStatus occurredAt: DateTime!
  }
  type Query { ok: Boolean! }
  type Subscription { conversationStatusChanged(conversationIds: [ID!]): ConversationStatusChange! }
`);

const changes = new EventEmitter();
changes.setMaxListeners(0);

// With microseconds, as the other servers tell it.
function now() {
  const milliseconds = performance.timeOrigin + performance.now();
  const micro = String(Math.floor((milliseconds % 1) * 1000)).padStart(3, "0");
  return new Date(milliseconds).toISOString().replace("Z", `${micro}+00:00`);
}

function change() {
  const occurredAt = now();
  const conversation = {
    id: "0b0f7d0e-6a8c-4a53-8f4e-0d5a3e0e9b11",
    title: "Bench",
    status: "STOPPED",
    agentState: null,
    statusReason: null,
    updatedAt: occurredAt,
  };
  return { conversationStatusChanged: { conversation, previousStatus: "RUNNING", occurredAt } };
}

async function* follow() {
  const waiting = [];
  let wake = () => {};
  const note = (found) => {
    waiting.push(found);
    wake();
  };
  changes.on("change", note);
  try {
    yield change();
    while (true) {
      while (waiting.length > 0) yield waiting.shift();
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    changes.off("change", note);
  }
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, path: "/graphql" });
useServer({ schema, roots: { subscription: { conversationStatusChanged: follow } } }, server);
server.on("listening", () => console.log(server.address().port));
createInterface({ input: process.stdin }).on("line", () => changes.emit("change", change()));
