/** A text with its line breaks, and with code between backticks set as such. Nothing in it becomes markup. */
export function RichText({ text }: { text: string }) {
  return text.split(/^```[^\n]*\n?/m).map((block, number) =>
    number % 2 === 1 ? (
      <pre key={number}>{block.replace(/\n$/, "")}</pre>
    ) : (
      block.trim() && (
        <p key={number}>
          {block.trim().split(/(`[^`\n]+`)/).map((piece, part) =>
            part % 2 === 1 ? <code key={part}>{piece.slice(1, -1)}</code> : piece,
          )}
        </p>
      )
    ),
  );
}
