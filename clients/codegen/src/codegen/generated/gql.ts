/* eslint-disable */
import * as types from './graphql.ts';
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';

/**
 * Map of all GraphQL operations in the project.
 *
 * This map has several performance disadvantages:
 * 1. It is not tree-shakeable, so it will include all operations in the project.
 * 2. It is not minifiable, so the string of a GraphQL query will be multiple times inside the bundle.
 * 3. It does not support dead code elimination, so it will add unused operations.
 *
 * Therefore it is highly recommended to use the babel or swc plugin for production.
 * Learn more about it here: https://the-guild.dev/graphql/codegen/plugins/presets/preset-client#reducing-bundle-size
 */
type Documents = {
    "\n  mutation Create($input: CreateConversationInput!) {\n    createConversation(input: $input) {\n      conversation {\n        id\n        title\n        status\n      }\n      userErrors {\n        __typename\n        ... on UserError {\n          code\n          message\n          path\n        }\n      }\n    }\n  }\n": typeof types.CreateDocument,
    "\n  subscription Events($id: ID!, $after: String) {\n    conversationEvents(conversationId: $id, after: $after) {\n      cursor\n      node {\n        __typename\n        sequence\n        source\n        createdAt\n        ... on MessageEvent {\n          text\n        }\n        ... on StateChangeEvent {\n          agentState\n        }\n      }\n    }\n  }\n": typeof types.EventsDocument,
    "\n  query Search($first: Int!, $filter: ConversationFilter) {\n    conversations(first: $first, filter: $filter, orderBy: { field: TITLE, direction: ASC }) {\n      nodes {\n        id\n        title\n      }\n      pageInfo {\n        hasNextPage\n      }\n    }\n  }\n": typeof types.SearchDocument,
    "\n  mutation Delete($input: DeleteConversationInput!) {\n    deleteConversation(input: $input) {\n      deletedConversationId\n      userErrors {\n        __typename\n      }\n    }\n  }\n": typeof types.DeleteDocument,
};
const documents: Documents = {
    "\n  mutation Create($input: CreateConversationInput!) {\n    createConversation(input: $input) {\n      conversation {\n        id\n        title\n        status\n      }\n      userErrors {\n        __typename\n        ... on UserError {\n          code\n          message\n          path\n        }\n      }\n    }\n  }\n": types.CreateDocument,
    "\n  subscription Events($id: ID!, $after: String) {\n    conversationEvents(conversationId: $id, after: $after) {\n      cursor\n      node {\n        __typename\n        sequence\n        source\n        createdAt\n        ... on MessageEvent {\n          text\n        }\n        ... on StateChangeEvent {\n          agentState\n        }\n      }\n    }\n  }\n": types.EventsDocument,
    "\n  query Search($first: Int!, $filter: ConversationFilter) {\n    conversations(first: $first, filter: $filter, orderBy: { field: TITLE, direction: ASC }) {\n      nodes {\n        id\n        title\n      }\n      pageInfo {\n        hasNextPage\n      }\n    }\n  }\n": types.SearchDocument,
    "\n  mutation Delete($input: DeleteConversationInput!) {\n    deleteConversation(input: $input) {\n      deletedConversationId\n      userErrors {\n        __typename\n      }\n    }\n  }\n": types.DeleteDocument,
};

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 *
 *
 * @example
 * ```ts
 * const query = graphql(`query GetUser($id: ID!) { user(id: $id) { name } }`);
 * ```
 *
 * The query argument is unknown!
 * Please regenerate the types.
 */
export function graphql(source: string): unknown;

/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation Create($input: CreateConversationInput!) {\n    createConversation(input: $input) {\n      conversation {\n        id\n        title\n        status\n      }\n      userErrors {\n        __typename\n        ... on UserError {\n          code\n          message\n          path\n        }\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation Create($input: CreateConversationInput!) {\n    createConversation(input: $input) {\n      conversation {\n        id\n        title\n        status\n      }\n      userErrors {\n        __typename\n        ... on UserError {\n          code\n          message\n          path\n        }\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  subscription Events($id: ID!, $after: String) {\n    conversationEvents(conversationId: $id, after: $after) {\n      cursor\n      node {\n        __typename\n        sequence\n        source\n        createdAt\n        ... on MessageEvent {\n          text\n        }\n        ... on StateChangeEvent {\n          agentState\n        }\n      }\n    }\n  }\n"): (typeof documents)["\n  subscription Events($id: ID!, $after: String) {\n    conversationEvents(conversationId: $id, after: $after) {\n      cursor\n      node {\n        __typename\n        sequence\n        source\n        createdAt\n        ... on MessageEvent {\n          text\n        }\n        ... on StateChangeEvent {\n          agentState\n        }\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  query Search($first: Int!, $filter: ConversationFilter) {\n    conversations(first: $first, filter: $filter, orderBy: { field: TITLE, direction: ASC }) {\n      nodes {\n        id\n        title\n      }\n      pageInfo {\n        hasNextPage\n      }\n    }\n  }\n"): (typeof documents)["\n  query Search($first: Int!, $filter: ConversationFilter) {\n    conversations(first: $first, filter: $filter, orderBy: { field: TITLE, direction: ASC }) {\n      nodes {\n        id\n        title\n      }\n      pageInfo {\n        hasNextPage\n      }\n    }\n  }\n"];
/**
 * The graphql function is used to parse GraphQL queries into a document that can be used by GraphQL clients.
 */
export function graphql(source: "\n  mutation Delete($input: DeleteConversationInput!) {\n    deleteConversation(input: $input) {\n      deletedConversationId\n      userErrors {\n        __typename\n      }\n    }\n  }\n"): (typeof documents)["\n  mutation Delete($input: DeleteConversationInput!) {\n    deleteConversation(input: $input) {\n      deletedConversationId\n      userErrors {\n        __typename\n      }\n    }\n  }\n"];

export function graphql(source: string) {
  return (documents as any)[source] ?? {};
}

export type DocumentType<TDocumentNode extends DocumentNode<any, any>> = TDocumentNode extends DocumentNode<  infer TType,  any>  ? TType  : never;