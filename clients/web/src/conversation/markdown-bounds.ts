/** A parse of such a text takes a second or two, in which the page stands still. */
const MOST_CHARACTERS = 30_000;
// Of quotes, lists and footnotes in each other. The parser's time grows with the cube of the depth.
const DEEP_BLOCKS = /^(?:[ \t]*(?:>|(?:[-+*]|\d{1,9}[.)]|\[\^[^\]\s]{0,50}\]:)(?=[ \t]))){16}/m;
// Lines that make headings of those before them, each of which takes milliseconds.
const UNDERLINES = /^[ \t>]*(?:=+|-+)[ \t]*$/gm;
const MOST_UNDERLINES = 200;
// Of emphases, links and images in each other, for which the parser and React call themselves.
const MOST_DEPTH = 100;
const FENCED = /^[ \t]*(`{3,})[^`\n]*\n[^]*?(?:^[ \t]*\1`*[ \t]*$|$(?![^]))/gm;
// A blank line, which ends all of them, and the marks that begin and end one.
const MARKS = /(?<blank>\n[ \t]*(?=\n))|(?<begin>\[|(?<![^\s\p{P}\p{S}])[*_~]+(?=[^\s*_~]))|(?<end>\]|(?<=[^\s*_~])[*_~]+)/gu;

/** Tells whether a text can be parsed as Markdown within a moment. Others would stop the page, or end it. */
export function isParsable(text: string): boolean {
  if (text.length > MOST_CHARACTERS) return false;
  const prose = text.replace(FENCED, "");
  if ((prose.match(UNDERLINES) ?? []).length > MOST_UNDERLINES) return false;
  return !DEEP_BLOCKS.test(prose) && depthOf(prose) <= MOST_DEPTH;
}

/** The depth, at the most, of emphases, links and images in each other. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const { 0: mark, groups } of text.matchAll(MARKS)) {
    // Two stars in a row are one emphasis.
    const size = Math.ceil(mark.length / 2);
    if (groups?.begin) depth += size;
    else depth = groups?.end ? Math.max(0, depth - size) : 0;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}
