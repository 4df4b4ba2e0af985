import { graphql } from "./graphql.ts";

export const CREATE = graphql(`
  mutation Create($input: CreateConversationInput!) {
    createConversation(input: $input) {
      conversation {
        id
        title
        status
      }
      userErrors {
        __typename
        ... on UserError {
          code
          message
          path
        }
      }
    }
  }
`);

export const EVENTS = graphql(`
  subscription Events($id: ID!, $after: String) {
    conversationEvents(conversationId: $id, after: $after) {
      cursor
      node {
        __typename
        sequence
        source
        createdAt
        ... on MessageEvent {
          text
        }
        ... on StateChangeEvent {
          agentState
        }
      }
    }
  }
`);

export const SEARCH = graphql(`
  query Search($first: Int!, $filter: ConversationFilter) {
    conversations(first: $first, filter: $filter, orderBy: { field: TITLE, direction: ASC }) {
      nodes {
        id
        title
      }
      pageInfo {
        hasNextPage
      }
    }
  }
`);

export const DELETE = graphql(`
  mutation Delete($input: DeleteConversationInput!) {
    deleteConversation(input: $input) {
      deletedConversationId
      userErrors {
        __typename
      }
    }
  }
`);
