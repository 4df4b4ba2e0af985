// Apollo Server on Fastify: node apollo.js FILE PORT
import { ApolloServer } from "@apollo/server";
import fastifyApollo from "@as-integrations/fastify";
import Fastify from "fastify";
import { resolversFor, typeDefs } from "./conversations.js";

const [, , path, port] = process.argv;
const server = new ApolloServer({ typeDefs, resolvers: resolversFor(path), introspection: false });
await server.start();
const app = Fastify();
await app.register(fastifyApollo.default ? fastifyApollo.default(server) : fastifyApollo(server));
await app.listen({ host: "127.0.0.1", port: Number(port) });
