import { type ReactNode, useEffect, useState } from "react";

import type { Conversation } from "../documents.ts";
import { forgetAttempt, keyOf } from "../idempotency.ts";
import { ask, check, type Fault, faultOf } from "../server.ts";
import { useDraft } from "../tab-storage.ts";
import { COMMIT, PROPOSE, PULL_REQUESTS, PUSH } from "./documents.ts";

interface Props {
  conversation: Conversation;
  workspace: { branchName: string | null; headCommitSha: string | null } | null;
  version: number;
}

interface PullRequest {
  id: string;
  number: number;
  url: string;
  state: string;
  title: string;
}

type Step = "commit" | "push" | "propose";

/** Commits what is different, pushes it to a branch, and opens a pull request; blank texts are made by the model. */
export function Publish({ conversation: { id }, workspace, version }: Props) {
  const [message, setMessage] = useDraft(`commit:${id}`, "");
  const [branch, setBranch] = useDraft(`branch:${id}`, "");
  const [title, setTitle] = useDraft(`pull-request:${id}`, "");
  const [busy, setBusy] = useState<Step | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);
  const [told, setTold] = useState<ReactNode>(null);
  const [proposed, setProposed] = useState<readonly PullRequest[]>([]);

  useEffect(() => {
    // It is shown beside what can be done; without it the rest works.
    ask(PULL_REQUESTS, { id }).then(
      ({ conversation }) => setProposed(conversation?.pullRequests.nodes ?? []),
      () => {},
    );
  }, [id, version]);

  async function run(step: Step, input: object, work: (key: string) => Promise<ReactNode>) {
    const attempt = `${step}:${id}`;
    setBusy(step);
    setFault(null);
    setTold(null);
    try {
      setTold(await work(keyOf(attempt, input)));
      forgetAttempt(attempt);
    } catch (error) {
      const failure = faultOf(error);
      if (failure.isRefusal) forgetAttempt(attempt);
      setFault(failure);
    } finally {
      setBusy(null);
    }
  }

  function commit() {
    const input = { conversationId: id, message: message.trim() || null };
    void run("commit", [input, workspace?.headCommitSha], async (idempotencyKey) => {
      const { commitWorkspace } = await ask(COMMIT, { input: { ...input, idempotencyKey } });
      check(commitWorkspace);
      setMessage("");
      return <>Committed: “{commitWorkspace.commit?.messageHeadline}”.</>;
    });
  }

  function push() {
    const input = { conversationId: id, branchName: branch.trim() };
    void run("push", [input, workspace?.headCommitSha], async (idempotencyKey) => {
      const { pushBranch } = await ask(PUSH, { input: { ...input, idempotencyKey } });
      check(pushBranch);
      return pushBranch.pushedBranch && <Pushed {...pushBranch.pushedBranch} />;
    });
  }

  function propose() {
    const input = { conversationId: id, title: title.trim() || null };
    void run("propose", [input, workspace?.headCommitSha], async (idempotencyKey) => {
      const { createPullRequest } = await ask(PROPOSE, { input: { ...input, idempotencyKey } });
      check(createPullRequest);
      const { pullRequest } = createPullRequest;
      if (!pullRequest) return null;
      setTitle("");
      setProposed((before) => [{ ...pullRequest, state: "OPEN" }, ...before.filter((other) => other.id !== pullRequest.id)]);
      return <>Pull request #{pullRequest.number} is open.</>;
    });
  }

  return (
    <section className="publish" aria-label="Publish">
      <Row
        label="Commit message"
        placeholder="Message; the model writes one if it is empty"
        action="Commit"
        value={message}
        isBusy={busy === "commit"}
        isReady={busy === null}
        change={setMessage}
        run={commit}
      />
      <Row
        label="Branch to push to"
        placeholder={workspace?.branchName ? `Branch, such as parley/${workspace.branchName}` : "Branch"}
        action="Push"
        value={branch}
        isBusy={busy === "push"}
        isReady={busy === null && branch.trim() !== ""}
        change={setBranch}
        run={push}
      />
      <Row
        label="Title of the pull request"
        placeholder="Title; the model writes one if it is empty"
        action="Open pull request"
        value={title}
        isBusy={busy === "propose"}
        isReady={busy === null}
        change={setTitle}
        run={propose}
      />
      {told && <p role="status">{told}</p>}
      {fault && (
        <p className="is-error" role="alert" dir="auto">
          {fault.message}
        </p>
      )}
      {proposed.map(({ id: key, number, url, state, title: name }) => (
        <p key={key}>
          <a href={url} target="_blank" rel="noreferrer">
            #{number} <bdi>{name}</bdi>
          </a>{" "}
          <span className="chip">{state.toLowerCase()}</span>
        </p>
      ))}
    </section>
  );
}

function Pushed({ name, url }: { name: string; url: string }) {
  return (
    <>
      Pushed to{" "}
      <a href={url} target="_blank" rel="noreferrer">
        {name}
      </a>
      .
    </>
  );
}

interface RowProps {
  label: string;
  placeholder: string;
  action: string;
  value: string;
  isBusy: boolean;
  isReady: boolean;
  change: (value: string) => void;
  run: () => void;
}

function Row({ label, placeholder, action, value, isBusy, isReady, change, run }: RowProps) {
  return (
    <form
      onSubmit={(submitted) => {
        submitted.preventDefault();
        if (isReady) run();
      }}
    >
      <input
        aria-label={label}
        placeholder={placeholder}
        dir="auto"
        maxLength={255}
        value={value}
        onChange={(changed) => change(changed.target.value)}
      />
      <button disabled={!isReady}>{isBusy ? "…" : action}</button>
    </form>
  );
}
