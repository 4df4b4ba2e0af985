import { graphql, type ResultOf } from "../graphql.ts";

export const WORKSPACE_CHANGED = graphql(`
  subscription WorkspaceChanged($id: ID!) {
    workspaceChanged(conversationId: $id) {
      changedFiles additions deletions
      workspace { id state branchName headCommitSha }
    }
  }
`);

export type WorkspaceChange = ResultOf<typeof WORKSPACE_CHANGED>["workspaceChanged"];

export const CHANGES = graphql(`
  query Changes($id: ID!, $first: Int!, $after: String, $since: ChangesSince!) {
    conversation(id: $id) {
      workspace {
        id
        changes(first: $first, after: $after, since: $since) {
          totalCount
          pageInfo { hasNextPage endCursor }
          edges { cursor node { path previousPath status additions deletions isBinary } }
        }
      }
    }
  }
`);

// One change has no address of its own: it is asked for as the one behind its neighbour.
export const DIFF = graphql(`
  query Diff($id: ID!, $after: String, $since: ChangesSince!) {
    conversation(id: $id) {
      workspace { id changes(first: 1, after: $after, since: $since) { nodes { path diff isTruncated } } }
    }
  }
`);

export const ENTRIES = graphql(`
  query Entries($id: ID!, $path: String!, $after: String) {
    conversation(id: $id) {
      workspace {
        id
        entries(path: $path, first: 100, after: $after) {
          pageInfo { hasNextPage endCursor }
          nodes { __typename path name ... on WorkspaceFile { sizeBytes } ... on WorkspaceLink { target } }
        }
      }
    }
  }
`);

export type WorkspaceEntry = NonNullable<
  NonNullable<NonNullable<ResultOf<typeof ENTRIES>["conversation"]>["workspace"]>["entries"]
>["nodes"][number];

export const READ_FILE = graphql(`
  query ReadFile($id: ID!, $path: String!) {
    conversation(id: $id) {
      workspace { id file(path: $path) { path name sizeBytes mediaType isBinary text isTruncated downloadUrl } }
    }
  }
`);

export const DOWNLOAD = graphql(`
  mutation Download($input: CreateDownloadInput!) {
    createDownload(input: $input) {
      download { url fileName }
      userErrors { ... on UserError { code message path } }
    }
  }
`);

export const UPLOAD = graphql(`
  mutation Upload($input: CreateUploadInput!) {
    createUpload(input: $input) {
      upload { url path }
      userErrors { ... on UserError { code message path } }
    }
  }
`);

export const COMMIT = graphql(`
  mutation Commit($input: CommitWorkspaceInput!) {
    commitWorkspace(input: $input) {
      commit { sha messageHeadline }
      branchName
      userErrors { ... on UserError { code message path } }
    }
  }
`);

export const PUSH = graphql(`
  mutation Push($input: PushBranchInput!) {
    pushBranch(input: $input) {
      pushedBranch { name url commitSha }
      userErrors { ... on UserError { code message path } }
    }
  }
`);

export const PROPOSE = graphql(`
  mutation Propose($input: CreatePullRequestInput!) {
    createPullRequest(input: $input) {
      pullRequest { id number url title }
      userErrors { ... on UserError { code message path } }
    }
  }
`);

export const PULL_REQUESTS = graphql(`
  query PullRequests($id: ID!) {
    conversation(id: $id) {
      pullRequests(first: 20) { nodes { id number url state title headBranchName baseBranchName isDraft } }
    }
  }
`);
