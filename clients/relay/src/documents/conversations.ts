/**
 * What relay-compiler reads. The programs import what it makes of this, in `src/artifacts`: that is what Relay's Babel
 * plug-in turns these tags into, and it spares the plug-in.
 */

import { graphql } from "relay-runtime";

export const row = graphql`
  fragment conversations_row on Conversation {
    id
    title
    status
    agentState
  }
`;

export const list = graphql`
  fragment conversations_list on Query
  @argumentDefinitions(
    first: { type: "Int", defaultValue: 20 }
    after: { type: "String" }
    filter: { type: "ConversationFilter" }
  )
  @refetchable(queryName: "conversationsNextPageQuery") {
    conversations(first: $first, after: $after, filter: $filter) @connection(key: "conversations_list_conversations") {
      __id
      edges {
        node {
          ...conversations_row
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;

export const page = graphql`
  query conversationsPageQuery($first: Int!, $filter: ConversationFilter) {
    ...conversations_list @arguments(first: $first, filter: $filter)
  }
`;

/** `@refetchable` on a type with an ID asks for it by `node(id:)`. */
export const log = graphql`
  fragment conversations_log on Conversation
  @argumentDefinitions(first: { type: "Int", defaultValue: 50 }, after: { type: "String" })
  @refetchable(queryName: "conversationsNextEventsQuery") {
    events(first: $first, after: $after) @connection(key: "conversations_log_events") {
      edges {
        node {
          sequence
          ... on MessageEvent {
            text
          }
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`;

export const create = graphql`
  mutation conversationsCreateMutation($input: CreateConversationInput!, $connections: [ID!]!) {
    createConversation(input: $input) {
      conversationEdge @prependEdge(connections: $connections) {
        node {
          ...conversations_row
        }
      }
      conversation {
        id
      }
      userErrors {
        ... on UserError {
          code
          message
        }
      }
    }
  }
`;

export const rename = graphql`
  mutation conversationsRenameMutation($input: RenameConversationInput!) @raw_response_type {
    renameConversation(input: $input) {
      conversation {
        id
        title
      }
      userErrors {
        ... on UserError {
          code
          message
        }
      }
    }
  }
`;

export const stop = graphql`
  mutation conversationsStopMutation($input: StopConversationInput!) {
    stopConversation(input: $input) {
      conversation {
        ...conversations_row
      }
      userErrors {
        ... on UserError {
          code
          message
        }
      }
    }
  }
`;

/** `@deleteEdge` takes it from these lists; `@deleteRecord`, in the subscription below, from the store. */
export const remove = graphql`
  mutation conversationsDeleteMutation($input: DeleteConversationInput!, $connections: [ID!]!) {
    deleteConversation(input: $input) {
      deletedConversationId @deleteEdge(connections: $connections)
      userErrors {
        ... on UserError {
          code
          message
        }
      }
    }
  }
`;

export const statuses = graphql`
  subscription conversationsStatusSubscription {
    conversationStatusChanged {
      conversation {
        ...conversations_row
      }
      deletedConversationId @deleteRecord
      previousStatus
    }
  }
`;
