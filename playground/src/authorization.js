// What the browser forgets when the tab is closed.
const KEY = "parley:authorization";

/** The Authorization header that was typed last. It outlives a reload of the page, but not the browser's tab. */
export function createAuthorization(storage) {
  return {
    /** `typed` are the headers of one request; one without Authorization gets the one that was typed last. */
    complete(typed = {}) {
      const given = Object.entries(typed).find(([name]) => name.toLowerCase() === "authorization");
      if (given?.[1]) {
        storage.setItem(KEY, given[1]);
      } else if (given) {
        // A blank one signs out.
        storage.removeItem(KEY);
      }
      const others = Object.entries(typed).filter((entry) => entry !== given);
      const kept = storage.getItem(KEY);
      return { ...Object.fromEntries(others), ...(kept ? { Authorization: kept } : {}) };
    },
  };
}
