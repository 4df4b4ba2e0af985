// Controls, and what turns the order of a line or takes no room. Joiners stay, which emoji and some scripts need.
const HIDDEN =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0]|[\u{e0000}-\u{e0fff}]/gu;

/** A text in which nothing is hidden: what somebody approves must be what they see. */
export function unhidden(text: string): string {
  return text.replace(/\r(?=\n|$)/g, "").replace(HIDDEN, (it) => `⟨U+${it.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
