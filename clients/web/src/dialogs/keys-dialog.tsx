import { useEffect, useRef } from "react";

const KEYS = [
  ["/", "search the titles"],
  ["↑ ↓", "go through the list"],
  ["Enter", "open a conversation, or send the message"],
  ["Shift Enter", "begin a new line"],
  ["Escape", "stop the agent while it works; otherwise go back to the conversation, then to the list"],
  ["?", "show these keys"],
] as const;

export function KeysDialog({ close }: { close: () => void }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      aria-label="Keys"
      onCancel={(cancelled) => {
        cancelled.preventDefault();
        close();
      }}
      onClick={(click) => click.target === element.current && close()}
    >
      <div className="keys">
        <h2>Keys</h2>
        <dl>
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>
                {key.split(" ").map((name) => (
                  <kbd key={name}>{name}</kbd>
                ))}
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <footer>
          <button autoFocus onClick={close}>
            Close
          </button>
        </footer>
      </div>
    </dialog>
  );
}
