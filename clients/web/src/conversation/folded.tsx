import { type ReactNode, useState } from "react";

const LINES = 20;

interface Props {
  text: string;
  /** The end says more than the beginning, as in what a command wrote. */
  keepsEnd?: boolean;
  show: (text: string) => ReactNode;
}

/** A text of more than twenty lines is folded, until one asks for all of it. */
export function Folded({ text, keepsEnd = false, show }: Props) {
  const [isOpen, setIsOpen] = useState(false);
  const lines = text.split("\n");
  const isLong = lines.length > LINES;
  const shown = !isLong || isOpen ? text : (keepsEnd ? lines.slice(-LINES) : lines.slice(0, LINES)).join("\n");
  const button = isLong && (
    <button type="button" className="quiet small fold" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
      {isOpen ? `Show ${LINES} lines` : `Show all ${lines.length.toLocaleString("en")} lines`}
    </button>
  );
  return (
    <>
      {keepsEnd && button}
      <pre className="output" dir="auto" tabIndex={0}>
        {show(shown)}
      </pre>
      {!keepsEnd && button}
    </>
  );
}
