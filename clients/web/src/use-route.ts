import { useEffect, useState } from "react";

const PREFIX = "#/c/";

/** The open conversation's id; null for none, and "" for an address that can't be read. */
export type OpenId = string | null;

/** Which conversation is open: the address tells, so that a reload and the browser's back button keep it. */
export function useRoute(): [OpenId, (id: string | null) => void] {
  const [id, setId] = useState(read);
  useEffect(() => {
    const follow = () => setId(read());
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return [id, (next) => (window.location.hash = next === null ? "" : PREFIX + encodeURIComponent(next))];
}

function read(): OpenId {
  const { hash } = window.location;
  if (hash === "" || hash === "#/") return null;
  if (!hash.startsWith(PREFIX)) return "";
  try {
    return decodeURIComponent(hash.slice(PREFIX.length));
  } catch {
    return "";
  }
}
