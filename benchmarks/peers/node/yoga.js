// GraphQL Yoga on Node's own HTTP server: node yoga.js FILE PORT
import { createServer } from "node:http";
import { createSchema, createYoga } from "graphql-yoga";
import { resolversFor, typeDefs } from "./conversations.js";

const [, , path, port] = process.argv;
const schema = createSchema({ typeDefs, resolvers: resolversFor(path) });
createServer(createYoga({ schema, logging: false, maskedErrors: false })).listen(Number(port), "127.0.0.1");
