import { useEffect, useRef } from "react";

/** What keys do while no dialog is open. Those that write characters do nothing while one types. */
export function useKeys(keys: Record<string, () => void>): void {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const press = (pressed: KeyboardEvent) => {
      if (pressed.defaultPrevented || pressed.isComposing || pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
      const target = pressed.target instanceof HTMLElement ? pressed.target : null;
      if (target?.closest("dialog")) return;
      if (pressed.key !== "Escape" && target?.matches("input, textarea, select")) return;
      const act = current.current[pressed.key];
      if (!act) return;
      pressed.preventDefault();
      act();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
