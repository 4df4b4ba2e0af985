export interface Notice {
  text: string;
  isError?: boolean;
  undo?: () => void;
}

export function Toast({ notice, close }: { notice: Notice; close: () => void }) {
  return (
    <div className={notice.isError ? "toast is-error" : "toast"} role={notice.isError ? "alert" : "status"}>
      <span>{notice.text}</span>
      {notice.undo ? (
        <button onClick={notice.undo}>Undo</button>
      ) : (
        <button aria-label="Dismiss" onClick={close}>
          ×
        </button>
      )}
    </div>
  );
}
