import { useEffect, useState } from "react";

import { type Conversation, CREATE, READ_SETTINGS } from "../documents.ts";
import { forgetAttempt, keyOf } from "../idempotency.ts";
import { ask, check, type Fault, faultOf } from "../server.ts";
import { useDraft } from "../tab-storage.ts";
import { Dialog } from "./dialog.tsx";
import { BranchPicker, type Provider, RepositoryPicker } from "./repository-picker.tsx";

const ATTEMPT = "create";
// Faults that the settings can mend.
const OF_SETTINGS = ["CONFIGURATION_SETTINGS_NOT_FOUND", "STATUS_ERROR_LLM_AUTHENTICATION", "STATUS_GIT_PROVIDER_AUTHENTICATION_ERROR"];

interface Place {
  provider: Provider | null;
  repositoryId: string;
  branch: string;
}

const NOWHERE: Place = { provider: null, repositoryId: "", branch: "" };

interface Props {
  /** Another number each time the settings may have changed. */
  settingsVersion: number;
  close: () => void;
  created: (conversation: Conversation) => void;
  openSettings: () => void;
}

/** What is typed here is kept until a conversation is made of it, so that closing loses nothing. */
export function CreateDialog({ settingsVersion, close, created, openSettings }: Props) {
  const [text, setText] = useDraft("create", "");
  const [place, setPlace] = useDraft("place", NOWHERE);
  const [providers, setProviders] = useState<Provider[] | null>(null);
  const [isBusy, setIsBusy] = useState(false);
  const [fault, setFault] = useState<Fault | null>(null);

  useEffect(() => {
    setFault(null);
    ask(READ_SETTINGS, {}).then(
      ({ settings }) => setProviders((settings?.providerAccounts ?? []).map((account) => account.provider)),
      (failure: unknown) => setFault(faultOf(failure)),
    );
  }, [settingsVersion]);

  const { provider, repositoryId, branch } = place;
  const isStored = provider !== null && (providers?.includes(provider) ?? false);

  async function create() {
    setIsBusy(true);
    setFault(null);
    const wanted = {
      initialMessage: text.trim() ? { text } : null,
      repository: isStored && repositoryId ? { id: repositoryId } : null,
      branchName: (isStored && branch) || null,
    };
    try {
      const { createConversation } = await ask(CREATE, { input: { ...wanted, idempotencyKey: keyOf(ATTEMPT, wanted) } });
      forgetAttempt(ATTEMPT);
      check(createConversation);
      setText("");
      setPlace(NOWHERE);
      if (createConversation.conversation) created(createConversation.conversation);
    } catch (failure) {
      setFault(faultOf(failure));
    } finally {
      setIsBusy(false);
    }
  }

  const error = fault && (
    <>
      {fault.message}{" "}
      {OF_SETTINGS.includes(fault.code) && (
        <button type="button" className="link" onClick={openSettings}>
          Open the settings
        </button>
      )}
    </>
  );
  return (
    <Dialog title="New conversation" action="Create" isBusy={isBusy} error={error} submit={create} close={close}>
      <label>
        First message
        <textarea
          autoFocus
          dir="auto"
          rows={4}
          maxLength={100_000}
          value={text}
          onChange={(change) => setText(change.target.value)}
        />
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
            value={isStored ? provider : ""}
            onChange={(change) => setPlace({ ...NOWHERE, provider: (change.target.value || null) as Provider | null })}
          >
            <option value="">no repository</option>
            {providers.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      )}
      {isStored && (
        <RepositoryPicker
          key={provider}
          provider={provider}
          chosen={repositoryId}
          pick={(id) => setPlace({ provider, repositoryId: id, branch: "" })}
        />
      )}
      {isStored && repositoryId && (
        <BranchPicker
          key={repositoryId}
          repositoryId={repositoryId}
          chosen={branch}
          pick={(name) => setPlace({ ...place, branch: name })}
        />
      )}
    </Dialog>
  );
}
