// The names of the schema's write-only input fields. GraphiQL keeps tabs and history in the browser;
// what is typed into these fields is blanked on its way there.
export const SECRET_FIELDS = ["llmApiKey", "token"];

// Matches the field in a query and, quoted and escaped any number of times, in JSON that holds JSON.
const SECRET_VALUE = new RegExp(String.raw`\b((?:${SECRET_FIELDS.join("|")})\b\\*"?(?:\s|\\+n)*:(?:\s|\\+n)*\\*")[^"\\]+`, "g");

/** The browser's storage for GraphiQL, without secrets. */
export function createStorage(storage) {
  return {
    get length() {
      return storage.length;
    },
    key: (index) => storage.key(index),
    getItem: (key) => storage.getItem(key),
    setItem: (key, value) => storage.setItem(key, value.replace(SECRET_VALUE, "$1")),
    removeItem: (key) => storage.removeItem(key),
    clear: () => storage.clear(),
  };
}
