import { type FormEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";

interface Props {
  title: string;
  action: string;
  isBusy: boolean;
  error: ReactNode;
  /** Closing would lose something, so Escape and a click beside the dialog ask first. */
  isChanged?: boolean;
  submit: () => void;
  close: () => void;
  children: ReactNode;
}

/** A form above the page. Escape closes it, and so does a click that begins and ends beside it. */
export function Dialog({ title, action, isBusy, error, isChanged = false, submit, close, children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const isPressedBeside = useRef(false);
  const [isAsking, setIsAsking] = useState(false);
  const wasFocused = useRef<Element | null>(null);

  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);

  function leave() {
    if (!isChanged) return close();
    if (!isAsking) wasFocused.current = document.activeElement;
    setIsAsking(true);
  }

  function stay() {
    setIsAsking(false);
    // Keys pressed while nothing has the focus would not reach the dialog.
    if (wasFocused.current instanceof HTMLElement) wasFocused.current.focus();
  }

  function escape(pressed: KeyboardEvent) {
    if (pressed.key !== "Escape" || pressed.nativeEvent.isComposing) return;
    // Otherwise the browser closes the dialog by itself, at the second time without asking.
    pressed.preventDefault();
    pressed.stopPropagation();
    if (isAsking) stay();
    else leave();
  }

  function send(submitted: FormEvent) {
    submitted.preventDefault();
    if (!isBusy) submit();
  }

  return (
    <dialog
      ref={element}
      aria-label={title}
      onKeyDown={escape}
      onCancel={(cancelled) => {
        if (cancelled.target !== element.current) return;
        cancelled.preventDefault();
        leave();
      }}
      onPointerDown={(pressed) => (isPressedBeside.current = pressed.target === element.current)}
      onClick={(click) => click.target === element.current && isPressedBeside.current && leave()}
    >
      <form onSubmit={send}>
        <h2>{title}</h2>
        {children}
        {error && (
          <p className="is-error" role="alert">
            {error}
          </p>
        )}
        {isAsking ? (
          // With keys, since a button that is pressed must not become the one that submits.
          <footer key="asking" role="alert">
            <span>Leave without saving?</span>
            <button type="button" autoFocus onClick={stay}>
              Keep editing
            </button>
            <button type="button" className="danger" onClick={close}>
              Discard
            </button>
          </footer>
        ) : (
          <footer key="usual">
            <button type="button" onClick={close}>
              Cancel
            </button>
            <button className="primary" disabled={isBusy}>
              {action}
            </button>
          </footer>
        )}
      </form>
    </dialog>
  );
}
