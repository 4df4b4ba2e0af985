import { type FormEvent, type ReactNode, useEffect, useRef } from "react";

interface Props {
  title: string;
  action: string;
  isBusy: boolean;
  error: string | null;
  submit: () => void;
  close: () => void;
  children: ReactNode;
}

/** A form above the page. Escape, and a click beside it, close it. */
export function Dialog({ title, action, isBusy, error, submit, close, children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);

  function send(submitted: FormEvent) {
    submitted.preventDefault();
    if (!isBusy) submit();
  }

  return (
    <dialog
      ref={element}
      aria-label={title}
      onCancel={close}
      onClick={(click) => click.target === element.current && close()}
    >
      <form onSubmit={send}>
        <h2>{title}</h2>
        {children}
        {error && (
          <p className="is-error" role="alert">
            {error}
          </p>
        )}
        <footer>
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button className="primary" disabled={isBusy}>
            {action}
          </button>
        </footer>
      </form>
    </dialog>
  );
}
