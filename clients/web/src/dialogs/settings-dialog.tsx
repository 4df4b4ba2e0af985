import { useEffect, useState } from "react";

import { READ_SETTINGS, SAVE_SETTINGS, SET_TOKEN, type Settings } from "../documents.ts";
import { ask, check, token } from "../server.ts";
import { Dialog } from "./dialog.tsx";

const PROVIDERS = ["GITHUB", "GITLAB", "BITBUCKET"] as const;
type PublishPolicy = Settings["publishPolicy"];
const POLICIES: Record<PublishPolicy, string> = {
  ALWAYS_ASK: "asks for each commit and pull request",
  ALLOW_COMMITS: "commits, and asks for each pull request",
  ALLOW_PULL_REQUESTS: "commits, pushes new branches, and opens pull requests",
};
const FIRST_MODEL = "demo/assistant";

/** Keys and tokens can be written and never read: an empty field leaves what is stored as it is. */
export function SettingsDialog({ close }: { close: () => void }) {
  const [settings, setSettings] = useState<Settings | null>(null);
  const [model, setModel] = useState(FIRST_MODEL);
  const [baseUrl, setBaseUrl] = useState("");
  const [apiKey, setApiKey] = useState("");
  const [mustConfirm, setMustConfirm] = useState(false);
  const [publishPolicy, setPublishPolicy] = useState<PublishPolicy>("ALWAYS_ASK");
  const [provider, setProvider] = useState<(typeof PROVIDERS)[number]>("GITHUB");
  const [providerToken, setProviderToken] = useState("");
  const [bearer, setBearer] = useState(token.get() ?? "");
  const [isBusy, setIsBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);

  useEffect(() => {
    ask(READ_SETTINGS, {}).then(
      ({ settings: found }) => {
        if (!found) return;
        setSettings(found);
        setModel(found.llmModel);
        setBaseUrl(found.llmBaseUrl ?? "");
        setMustConfirm(found.confirmationMode);
        setPublishPolicy(found.publishPolicy);
      },
      (failure: Error) => setError(failure.message),
    );
  }, []);

  async function save() {
    setIsBusy(true);
    setError(null);
    try {
      if (bearer !== (token.get() ?? "")) token.set(bearer.trim());
      const { updateSettings } = await ask(SAVE_SETTINGS, {
        input: {
          llmModel: model.trim(),
          llmBaseUrl: baseUrl.trim() || null,
          confirmationMode: mustConfirm,
          publishPolicy,
          ...(apiKey ? { llmApiKey: apiKey } : {}),
        },
      });
      check(updateSettings);
      if (providerToken) check((await ask(SET_TOKEN, { input: { provider, token: providerToken } })).setProviderToken);
      close();
    } catch (failure) {
      setError((failure as Error).message);
    } finally {
      setIsBusy(false);
    }
  }

  const isChanged =
    model !== (settings?.llmModel ?? FIRST_MODEL) ||
    baseUrl !== (settings?.llmBaseUrl ?? "") ||
    mustConfirm !== (settings?.confirmationMode ?? false) ||
    publishPolicy !== (settings?.publishPolicy ?? "ALWAYS_ASK") ||
    bearer !== (token.get() ?? "") ||
    apiKey + providerToken !== "";
  const account = settings?.providerAccounts.find((found) => found.provider === provider);
  return (
    <Dialog title="Settings" action="Save" isBusy={isBusy} error={error} isChanged={isChanged} submit={save} close={close}>
      <label>
        Model
        <input required maxLength={200} value={model} onChange={(change) => setModel(change.target.value)} />
      </label>
      <label>
        Base URL
        <input
          placeholder="the provider’s own"
          maxLength={2000}
          value={baseUrl}
          onChange={(change) => setBaseUrl(change.target.value)}
        />
      </label>
      <label>
        API key
        <input
          type="password"
          autoComplete="off"
          placeholder={settings?.llmApiKeySet ? "one is stored" : "none is stored"}
          value={apiKey}
          onChange={(change) => setApiKey(change.target.value)}
        />
      </label>
      <label className="check">
        <input type="checkbox" checked={mustConfirm} onChange={(change) => setMustConfirm(change.target.checked)} />
        Ask me before the agent uses a tool
      </label>
      <label>
        Publishing by the agent
        <select
          value={publishPolicy}
          disabled={mustConfirm}
          onChange={(change) => setPublishPolicy(change.target.value as PublishPolicy)}
        >
          {Object.entries(POLICIES).map(([name, text]) => (
            <option key={name} value={name}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>Token for a git provider</legend>
        <div className="row">
          <select
            aria-label="Git provider"
            value={provider}
            onChange={(change) => setProvider(change.target.value as (typeof PROVIDERS)[number])}
          >
            {PROVIDERS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
          <input
            type="password"
            aria-label="Token"
            autoComplete="off"
            placeholder={account ? `stored, of ${account.login}` : "none is stored"}
            value={providerToken}
            onChange={(change) => setProviderToken(change.target.value)}
          />
        </div>
      </fieldset>
      <label>
        Bearer token of this server
        <input
          type="password"
          autoComplete="off"
          placeholder="not needed on your own machine"
          value={bearer}
          onChange={(change) => setBearer(change.target.value)}
        />
      </label>
    </Dialog>
  );
}
