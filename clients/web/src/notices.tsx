import { useCallback, useRef, useState } from "react";

export interface Notice {
  id: number;
  text: string;
  isError?: boolean;
  /** What can be done about it. */
  action?: { name: string; run: () => void };
}

export interface Notices {
  all: readonly Notice[];
  /** Shows a notice, in the place of one that says the same, and returns its id. */
  add: (notice: Omit<Notice, "id">) => number;
  remove: (id: number) => void;
}

const MOST_ERRORS = 3;

export function useNotices(): Notices {
  const [all, setAll] = useState<readonly Notice[]>([]);
  const last = useRef(0);
  const remove = useCallback((id: number) => setAll((before) => before.filter((notice) => notice.id !== id)), []);
  const add = useCallback((notice: Omit<Notice, "id">) => {
    const id = ++last.current;
    setAll((before) => {
      const others = before.filter(({ isError, text }) => !isError || text !== notice.text);
      const errors = others.filter(({ isError }) => isError);
      const tooOld = errors.length >= MOST_ERRORS ? errors[0] : undefined;
      return [...others.filter((other) => other !== tooOld), { ...notice, id }];
    });
    return id;
  }, []);
  return { all, add, remove };
}

/** Each notice at the foot of the page, the last one lowest. */
export function NoticeStack({ notices: { all, remove } }: { notices: Notices }) {
  return (
    <div className="notices">
      {all.map(({ id, text, isError, action }) => (
        <div key={id} className={isError ? "toast is-error" : "toast"} role={isError ? "alert" : "status"}>
          <span dir="auto">{text}</span>
          {action && (
            <button
              onClick={() => {
                remove(id);
                action.run();
              }}
            >
              {action.name}
            </button>
          )}
          {(isError || !action) && (
            <button aria-label="Dismiss" onClick={() => remove(id)}>
              ×
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
