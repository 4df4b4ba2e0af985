import { useEffect, useState } from "react";

import { BRANCHES, type Conversation, CREATE, READ_SETTINGS, REPOSITORIES } from "./documents.ts";
import { Dialog } from "./dialog.tsx";
import { ask, check } from "./server.ts";

const TYPING_MILLISECONDS = 250;

type Provider = "GITHUB" | "GITLAB" | "BITBUCKET";

interface Props {
  close: () => void;
  created: (conversation: Conversation) => void;
  openSettings: () => void;
}

export function CreateDialog({ close, created, openSettings }: Props) {
  const [text, setText] = useState("");
  const [provider, setProvider] = useState<Provider | null>(null);
  const [providers, setProviders] = useState<Provider[] | null>(null);
  const [repositoryId, setRepositoryId] = useState("");
  const [branch, setBranch] = useState("");
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    ask(READ_SETTINGS, {}).then(
      ({ settings }) => setProviders((settings?.providerAccounts ?? []).map((account) => account.provider)),
      (failure: Error) => setError(failure.message),
    );
  }, []);

  async function create() {
    setIsBusy(true);
    setError(null);
    try {
      const { createConversation } = await ask(CREATE, {
        input: {
          initialMessage: text.trim() ? { text } : null,
          repository: repositoryId ? { id: repositoryId } : null,
          branchName: branch || null,
          idempotencyKey: crypto.randomUUID(),
        },
      });
      check(createConversation);
      if (createConversation.conversation) created(createConversation.conversation);
    } catch (failure) {
      setError((failure as Error).message);
    } finally {
      setIsBusy(false);
    }
  }

  return (
    <Dialog title="New conversation" action="Create" isBusy={isBusy} error={error} submit={create} close={close}>
      <label>
        First message
        <textarea autoFocus rows={4} maxLength={100_000} value={text} onChange={(change) => setText(change.target.value)} />
      </label>
      {providers?.length === 0 && (
        <p className="hint">
          To work on a repository, store a token for its host in the{" "}
          <button type="button" className="link" onClick={openSettings}>
            settings
          </button>
          .
        </p>
      )}
      {providers !== null && providers.length > 0 && (
        <label>
          Repository from
          <select
            value={provider ?? ""}
            onChange={(change) => {
              setProvider((change.target.value || null) as Provider | null);
              setRepositoryId("");
              setBranch("");
            }}
          >
            <option value="">no repository</option>
            {providers.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      )}
      {provider && <RepositoryPicker key={provider} provider={provider} pick={setRepositoryId} />}
      {repositoryId && <BranchPicker key={repositoryId} repositoryId={repositoryId} pick={setBranch} />}
    </Dialog>
  );
}

function RepositoryPicker({ provider, pick }: { provider: Provider; pick: (id: string) => void }) {
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<readonly { id: string; nameWithOwner: string; isPrivate: boolean }[]>([]);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    let isWanted = true;
    const timer = setTimeout(() => {
      ask(REPOSITORIES, { provider, query: query.trim() || null }).then(
        ({ repositories }) => isWanted && setFound(repositories?.nodes ?? []),
        (failure: Error) => isWanted && setError(failure.message),
      );
    }, TYPING_MILLISECONDS);
    return () => {
      isWanted = false;
      clearTimeout(timer);
    };
  }, [provider, query]);

  return (
    <fieldset>
      <legend>Repository</legend>
      <input
        type="search"
        aria-label="Search repositories"
        placeholder="Search"
        maxLength={200}
        value={query}
        onChange={(change) => setQuery(change.target.value)}
      />
      {error && <p className="is-error">{error}</p>}
      <div className="choices">
        {found.map(({ id, nameWithOwner, isPrivate }) => (
          <label key={id}>
            <input type="radio" name="repository" onChange={() => pick(id)} />
            {nameWithOwner}
            {isPrivate && <span className="chip still">private</span>}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function BranchPicker({ repositoryId, pick }: { repositoryId: string; pick: (name: string) => void }) {
  const [names, setNames] = useState<string[] | null>(null);
  const [first, setFirst] = useState<string | null>(null);

  useEffect(() => {
    ask(BRANCHES, { id: repositoryId, query: null }).then(
      ({ node }) => {
        const repository = node && "branches" in node ? node : null;
        setNames((repository?.branches?.nodes ?? []).map(({ name }) => name));
        setFirst(repository?.defaultBranch?.name ?? null);
      },
      () => setNames([]),
    );
  }, [repositoryId]);

  return (
    <label>
      Branch
      <select disabled={names === null} onChange={(change) => pick(change.target.value)}>
        <option value="">{first === null ? "the default branch" : `${first} (default)`}</option>
        {names?.filter((name) => name !== first).map((name) => <option key={name}>{name}</option>)}
      </select>
    </label>
  );
}
