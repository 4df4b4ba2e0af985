// The names of the schema's write-only input fields. GraphiQL keeps tabs and history in the browser;
// what is typed into these fields, or into variables of their type, is blanked on its way there.
export const SECRET_FIELDS = ["llmApiKey", "token"];

// The history notes the headers of each request, and with them bearer tokens.
const HEADERS = "headers";

const SECRET_VARIABLE = /\$(\w+)\s*:\s*Secret\b/g;

/** The browser's storage for GraphiQL, without secrets. */
export function createStorage(storage) {
  const names = new Set([...SECRET_FIELDS, HEADERS]);

  function learn(text) {
    for (const [, name] of (text ?? "").matchAll(SECRET_VARIABLE)) {
      names.add(name);
    }
  }

  for (const key of ["graphiql:query", "graphiql:tabState"]) {
    learn(storage.getItem(key));
  }
  return {
    get length() {
      return storage.length;
    },
    getItem: (key) => storage.getItem(key),
    setItem: (key, value) => {
      learn(value);
      storage.setItem(key, withoutSecrets(value, names));
    },
    removeItem: (key) => storage.removeItem(key),
    clear: () => storage.clear(),
  };
}

/** `text` is a query, variables as they are typed, or JSON that holds such texts at any depth. */
function withoutSecrets(text, names) {
  // The value is a block string, or a string that may still lack its end.
  const secret = new RegExp(String.raw`\b((?:${[...names].join("|")})\b"?\s*:\s*)("""[^]*?(?:"""|$)|"(?:\\.|[^"\\\n])*"?)`, "g");
  const blanked = text.replace(secret, '$1""');
  let parsed;
  try {
    parsed = JSON.parse(blanked);
  } catch {
    return blanked;
  }
  let changed = false;
  const again = JSON.stringify(parsed, (_name, value) => {
    const clean = typeof value === "string" ? withoutSecrets(value, names) : value;
    changed ||= clean !== value;
    return clean;
  });
  // What is typed keeps its layout unless it holds a secret at a deeper level.
  return changed ? again : blanked;
}
