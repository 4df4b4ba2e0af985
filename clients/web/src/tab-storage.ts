import { useCallback, useState } from "react";

const PREFIX = "parley:";

/** The browser keeps it until the tab is closed, also across reloads. Where it is full or turned off, nothing is kept. */
export const tabStorage = {
  read<Value>(name: string): Value | null {
    try {
      return JSON.parse(sessionStorage.getItem(PREFIX + name) ?? "null") as Value | null;
    } catch {
      return null;
    }
  },
  write(name: string, value: unknown): void {
    try {
      sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      // The page works on with what it has in memory.
    }
  },
  remove(name: string): void {
    try {
      sessionStorage.removeItem(PREFIX + name);
    } catch {
      // As above.
    }
  },
  /** The ends of the names that begin like this. */
  names(beginning: string): string[] {
    try {
      const whole = PREFIX + beginning;
      return Object.keys(sessionStorage).flatMap((name) => (name.startsWith(whole) ? name.slice(whole.length) : []));
    } catch {
      return [];
    }
  },
};

/** State that outlives its component and a reload. The name must not change while the component lives. */
export function useDraft<Value>(name: string, first: Value): [Value, (value: Value) => void] {
  const [value, setValue] = useState(() => tabStorage.read<Value>(`draft:${name}`) ?? first);
  const change = useCallback(
    (next: Value) => {
      setValue(next);
      if (next === first) tabStorage.remove(`draft:${name}`);
      else tabStorage.write(`draft:${name}`, next);
    },
    [name, first],
  );
  return [value, change];
}
