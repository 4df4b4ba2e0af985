import { useEffect, useState } from "react";

const PREFIX = "#/c/";

/** Which conversation is open: the address tells, so that a reload and the browser's back button keep it. */
export function useRoute(): [string | null, (id: string | null) => void] {
  const [id, setId] = useState(read);
  useEffect(() => {
    const follow = () => setId(read());
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return [id, (next) => (window.location.hash = next === null ? "" : PREFIX + encodeURIComponent(next))];
}

function read(): string | null {
  const { hash } = window.location;
  return hash.startsWith(PREFIX) ? decodeURIComponent(hash.slice(PREFIX.length)) : null;
}
