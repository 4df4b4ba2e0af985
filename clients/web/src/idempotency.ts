import { tabStorage } from "./tab-storage.ts";

interface Attempt {
  key: string;
  input: string;
}

/** Makes a random key. Not by `crypto.randomUUID`, which browsers offer only on https and on localhost. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Returns the key of an attempt to do something, such as "create". It stays the same, also after a reload, until the
 * attempt is answered or asks for something else, so that what was done unheard is not done twice.
 */
export function keyOf(purpose: string, input: unknown): string {
  const wanted = JSON.stringify(input);
  const before = tabStorage.read<Attempt>(`attempt:${purpose}`);
  if (before?.input === wanted) return before.key;
  const key = newKey();
  tabStorage.write(`attempt:${purpose}`, { key, input: wanted });
  return key;
}

/** Forgets an attempt, which was answered. */
export function forgetAttempt(purpose: string): void {
  tabStorage.remove(`attempt:${purpose}`);
}
