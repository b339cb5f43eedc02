// Rules for what people write: names, rooms, messages, and the links in them.
//
// Owns the same rules for names as the server (trio_chat/chat/schema.py) and what counts as a safe link. Only splits
// and checks strings; refuses to know how any of it is shown.

export const MAX_NAME = 32;
export const MAX_ROOM = 64;

const ROOM = /^[\p{L}\p{M}\p{Nd}\-_.]{1,64}$/u;
const NOT_IN_NAMES = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u{fffd}]/u;
const NOT_SHOWN = /^\p{M}|[\p{Default_Ignorable_Code_Point}\u{2800}\u{1d159}]/u; // or not by itself
const STYLE = /(?<=[^\s\ufe0e\ufe0f])[\ufe0e\ufe0f]/gu; // of the character before: text or emoji

/** `text` as a user's name, or `null` if it cannot be one. */
export function userName(text) {
  const name = text.normalize("NFC").trim();
  const length = [...name].length;
  const isShown = !NOT_IN_NAMES.test(name) && !NOT_SHOWN.test(name.replace(STYLE, ""));
  return length >= 1 && length <= MAX_NAME && isShown ? name : null;
}

/** `text` as a room's name (a leading `#` is not part of it), or `null` if it cannot be one. */
export function roomName(text) {
  const name = text.normalize("NFC").trim().replace(/^#/, "");
  return ROOM.test(name) && !NOT_SHOWN.test(name) && !/^\.+$/.test(name) ? name : null;
}

/** A message as it is sent: no blank lines around it, no halves of characters. Empty if nothing is left. */
export function messageText(text) {
  const whole = text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
  return whole.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();
}

// No quotes, brackets of markup, or characters that turn the direction of text: a link must read as what it is.
const CANDIDATE = /https?:\/\/[^\s<>"'`\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u3000-\u3002\uff01\uff08-\uff09\uff0c\uff1a-\uff1b\uff1f]+/gi;
const TRAILING = /[.,;:!?*_~]+$/;
const PAIRS = { ")": "(", "]": "[", "}": "{" };

/** Without what ends the sentence rather than the address. */
function withoutTail(address) {
  let end = address;
  for (;;) {
    const shorter = end.replace(TRAILING, "");
    const open = PAIRS[shorter.at(-1)];
    const isUnbalanced = open && shorter.split(shorter.at(-1)).length > shorter.split(open).length;
    const next = isUnbalanced ? shorter.slice(0, -1) : shorter;
    if (next === end) return end;
    end = next;
  }
}

/** The address to go to, or `null`: http and https with a host and without a user name that poses as one, and mailto. */
export function safeAddress(address) {
  try {
    const url = new URL(address);
    if (url.protocol === "mailto:") return /^mailto:[^\s@]+@[^\s@]+$/.test(url.href) ? url.href : null;
    const isSafe = (url.protocol === "https:" || url.protocol === "http:") && url.hostname && !url.username && !url.password;
    return isSafe ? url.href : null;
  } catch {
    return null;
  }
}

/** `text` in parts: `{text}` or `{text, href}`; together they are `text`. */
export function parts(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const address = withoutTail(match[0]);
    const href = safeAddress(address);
    if (!href) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: address, href });
    end = match.index + address.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

const EMOJI_ONLY = /^(?:\p{RI}\p{RI}|\p{Emoji_Presentation}|\p{Emoji}\uFE0F|\p{Emoji_Modifier}|\u200D|\u20E3|\s)+$/u;

/** A few pictures and nothing else: they are shown large. */
export function isEmoji(text) {
  return text.length <= 24 && EMOJI_ONLY.test(text) && !/^[\d\s#*]+$/.test(text);
}

/** One or two characters that stand for a name. */
export function initials(name) {
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  const first = (word) => firstCharacter(word).toLocaleUpperCase();
  if (words.length === 0) return firstCharacter(name);
  const one = first(words[0]);
  const isWide = /\p{Script=Han}|\p{Script=Hangul}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Extended_Pictographic}/u;
  return words.length === 1 || isWide.test(one) ? one : one + first(words[1]);
}

function firstCharacter(text) {
  if (typeof Intl !== "undefined" && Intl.Segmenter) {
    for (const { segment } of new Intl.Segmenter().segment(text)) return segment;
  }
  return [...text][0] ?? "?";
}

/** A number from 0 to `count - 1` that stays with `id`. */
export function hueOf(id, count) {
  let hash = 2166136261;
  for (let index = 0; index < id.length; index += 1) {
    hash = Math.imul(hash ^ id.charCodeAt(index), 16777619);
  }
  return (hash >>> 8) % count;
}
