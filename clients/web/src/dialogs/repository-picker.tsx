import { useEffect, useState } from "react";

import { BRANCHES, REPOSITORIES } from "../documents.ts";
import { ask } from "../server.ts";

const TYPING_MILLISECONDS = 250;

export type Provider = "GITHUB" | "GITLAB" | "BITBUCKET";

interface RepositoryProps {
  provider: Provider;
  /** The chosen repository's id; empty for none. */
  chosen: string;
  pick: (id: string) => void;
}

export function RepositoryPicker({ provider, chosen, pick }: RepositoryProps) {
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
            <input type="radio" name="repository" checked={id === chosen} onChange={() => pick(id)} />
            <bdi>{nameWithOwner}</bdi>
            {isPrivate && <span className="chip still">private</span>}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface BranchProps {
  repositoryId: string;
  /** The chosen branch's name; empty for the default branch. */
  chosen: string;
  pick: (name: string) => void;
}

export function BranchPicker({ repositoryId, chosen, pick }: BranchProps) {
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
      <select disabled={names === null} value={chosen} onChange={(change) => pick(change.target.value)}>
        <option value="">{first === null ? "the default branch" : `${first} (default)`}</option>
        {names?.filter((name) => name !== first).map((name) => <option key={name}>{name}</option>)}
      </select>
    </label>
  );
}
