// Mercurius with its compiler, on Fastify: node mercurius.js FILE PORT
import Fastify from "fastify";
import mercurius from "mercurius";
import { resolversFor, typeDefs } from "./conversations.js";

const [, , path, port] = process.argv;
const app = Fastify();
app.register(mercurius, { schema: typeDefs, resolvers: resolversFor(path), jit: 1, path: "/graphql" });
await app.listen({ host: "127.0.0.1", port: Number(port) });
