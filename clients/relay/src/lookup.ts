import { getSingularSelector, type Environment, type ReaderFragment } from "relay-runtime";

/** What a fragment sees of an object that the store holds. */
export function lookup<T>(environment: Environment, fragment: ReaderFragment, reference: unknown): T {
  const selector = getSingularSelector(fragment, reference);
  if (selector == null) throw new Error(`${fragment.name} was not loaded.`);
  return environment.lookup(selector).data as T;
}
