// What people write, taken apart: a small, safe subset of Markdown as plain data.
//
// Owns the grammar: **bold**, *italic* and _italic_, ~~struck~~, `code`, fenced code, > quotes, lists, links, @names.
// Makes a tree of strings that ui/prose.js turns into elements, so that no text ever becomes markup. Whatever does not
// fit stays as it was written. Takes time in proportion to the text: nesting and lookahead are bounded.
//
// Blocks: {kind: "text", parts}, {kind: "code", language, text}, {kind: "quote", blocks}, {kind: "list", start, items: [parts]}.
// Parts: {text}, {text, href}, {text, mention: true}, {text, code: true}, or {style, parts}.

import { parts as linked, safeAddress } from "./text.js";

const MAX_DEPTH = 4; // of quotes in quotes, of bold in italic
const MAX_SPAN = 2_000; // characters between the two signs of a span
const FENCE = /^ {0,3}```\s*([\w+#.-]{0,24})\s*$/;
const FENCE_END = /^ {0,3}```\s*$/;
const QUOTE = /^ {0,3}>(?: |$)/;
const BULLET = /^ {0,3}[-*+] +(?=\S)/;
const NUMBER = /^ {0,3}(\d{1,6})[.)] +(?=\S)/;

/** The blocks of a message. */
export function blocks(text, depth = 0) {
  const lines = text.split("\n");
  const found = [];
  let index = 0;
  while (index < lines.length) {
    const block = code(lines, index) ?? (depth < MAX_DEPTH ? quote(lines, index, depth) : null) ?? list(lines, index);
    if (block) {
      found.push(block.block);
      index = block.next;
    } else {
      addLine(found, lines[index]);
      index += 1;
    }
  }
  return found.map(finish).filter((block) => block.kind !== "text" || block.parts.length > 0);
}

function addLine(found, line) {
  const last = found.at(-1);
  if (last?.lines) last.lines.push(line);
  else found.push({ kind: "text", lines: [line] });
}

/** Lines of text in a row are one block; blank ones beside another block are its margin. */
function finish(block, index, all) {
  if (!block.lines) return block;
  let { lines } = block;
  if (index > 0) while (lines.length > 0 && !lines[0].trim()) lines = lines.slice(1);
  if (index < all.length - 1) while (lines.length > 0 && !lines.at(-1).trim()) lines = lines.slice(0, -1);
  return { kind: "text", parts: lines.length > 0 ? inline(lines.join("\n")) : [] };
}

function code(lines, start) {
  const opening = FENCE.exec(lines[start]);
  if (!opening) return null;
  let end = start + 1;
  while (end < lines.length && !FENCE_END.test(lines[end])) end += 1;
  if (end === start + 1 && end >= lines.length) return null; // a fence alone is text
  const text = lines.slice(start + 1, end).join("\n");
  return { block: { kind: "code", language: opening[1], text }, next: end + 1 };
}

function quote(lines, start, depth) {
  let end = start;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  if (end === start) return null;
  const inner = lines.slice(start, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return { block: { kind: "quote", blocks: blocks(inner, depth + 1) }, next: end };
}

function list(lines, start) {
  const sign = [BULLET, NUMBER].find((one) => one.test(lines[start]));
  if (!sign) return null;
  const first = NUMBER.exec(lines[start]);
  const items = [];
  let end = start;
  while (end < lines.length && sign.test(lines[end])) {
    const item = [lines[end].replace(sign, "")];
    end += 1;
    while (end < lines.length && /^ {2,}\S/.test(lines[end]) && !sign.test(lines[end])) {
      item.push(lines[end].trimStart());
      end += 1;
    }
    items.push(inline(item.join("\n")));
  }
  return { block: { kind: "list", start: first ? Number(first[1]) : null, items }, next: end };
}

// --- within a line ---

const SPANS = [
  { sign: "**", style: "bold" },
  { sign: "__", style: "bold", wordy: true },
  { sign: "~~", style: "struck" },
  { sign: "*", style: "italic" },
  { sign: "_", style: "italic", wordy: true },
];
const STOP = /[`*_~[\\@]|https?:\/\//gi;
const WORD = /[\p{L}\p{N}_]/u;
const NAME = /^@[\p{L}\p{N}][\p{L}\p{M}\p{N}_.-]{0,31}/u;
const LINK = /^\[([^\][\n]{1,300})\]\(((?:https?:\/\/|mailto:)[^\s()<>]{1,2000})\)/i;
const ESCAPED = /^\\([\\`*_~[\]()>#@-])/;

/** The parts of a text without blocks. */
export function inline(text, depth = 0) {
  const found = [];
  let plain = "";
  let index = 0;
  const flush = () => {
    if (plain) found.push(...linked(plain));
    plain = "";
  };
  while (index < text.length) {
    STOP.lastIndex = index;
    const stop = STOP.exec(text)?.index ?? text.length;
    plain += text.slice(index, stop);
    index = stop;
    if (index >= text.length) break;
    const part = special(text, index, depth);
    if (part) {
      if (part.plain === undefined) {
        flush();
        found.push(part.part);
      } else {
        plain += part.plain;
      }
      index = part.end;
    } else {
      plain += text[index];
      index += 1;
    }
  }
  flush();
  return found;
}

function special(text, index, depth) {
  const rest = text.slice(index, index + 2_400);
  if (/^https?:/i.test(rest)) return { plain: /^\S+/.exec(rest)[0], end: index + /^\S+/.exec(rest)[0].length };
  if (rest[0] === "\\") {
    const escaped = ESCAPED.exec(rest);
    return escaped && { plain: escaped[1], end: index + 2 };
  }
  if (rest[0] === "`") return codeSpan(text, index);
  if (rest[0] === "[") return link(rest, index);
  if (rest[0] === "@") return mention(text, rest, index);
  return depth < MAX_DEPTH ? span(text, index, depth) : null;
}

function codeSpan(text, index) {
  const sign = /^`+/.exec(text.slice(index, index + 16))[0];
  const end = text.indexOf(sign, index + sign.length);
  if (end < 0 || end - index > MAX_SPAN || end === index + sign.length) return { plain: sign, end: index + sign.length };
  const inner = text.slice(index + sign.length, end);
  if (inner.includes("\n")) return { plain: sign, end: index + sign.length };
  return { part: { text: inner, code: true }, end: end + sign.length };
}

/** A link that shows one address and leads to another stays text. */
const poses = (words, href) => /^\s*(?:[a-z]+:\/\/|[^\s/]+\.[^\s/.]{2,}(?:[/:?#]|\s*$))/i.test(words) && safeAddress(words.trim()) !== href;

function link(rest, index) {
  const match = LINK.exec(rest);
  const address = match && safeAddress(match[2]);
  const href = address && !poses(match[1], address) ? address : null;
  return href ? { part: { text: match[1], href }, end: index + match[0].length } : null;
}

function mention(text, rest, index) {
  const match = NAME.exec(rest);
  if (!match || (index > 0 && WORD.test(text[index - 1]))) return null;
  return { part: { text: match[0].replace(/[.-]+$/, ""), mention: true }, end: index + match[0].replace(/[.-]+$/, "").length };
}

function span(text, index, depth) {
  for (const { sign, style, wordy } of SPANS) {
    if (!text.startsWith(sign, index)) continue;
    const end = closing(text, index, sign, wordy);
    if (end > 0) return { part: { style, parts: inline(text.slice(index + sign.length, end), depth + 1) }, end: end + sign.length };
  }
  const sign = /^(?:\*+|_+|~+)/.exec(text.slice(index, index + MAX_SPAN))[0];
  return { plain: sign, end: index + sign.length };
}

/** Where `sign` closes what it opens at `index`, or -1: never beside a blank, and with `_` never within a word. */
function closing(text, index, sign, wordy) {
  const from = index + sign.length;
  if (!text[from] || /\s/.test(text[from]) || (wordy && index > 0 && WORD.test(text[index - 1]))) return -1;
  const blank = text.indexOf("\n\n", from);
  const limit = Math.min(blank < 0 ? text.length : blank, from + MAX_SPAN);
  for (let at = text.indexOf(sign, from + 1); at > 0 && at < limit; at = text.indexOf(sign, at + 1)) {
    const isDouble = sign.length === 1 && (text[at + 1] === sign || text[at - 1] === sign);
    const isLoose = /\s/.test(text[at - 1]) || (wordy && WORD.test(text[at + sign.length] ?? " "));
    if (!isDouble && !isLoose) return at;
  }
  return -1;
}
