// What people wrote, as elements: the tree of core/markdown.js drawn.
//
// Text only ever becomes text nodes; the only attribute that comes from outside is a checked address. Every block and
// every name is isolated, so that a character which turns the direction of text does not reach its neighbours.

import { blocks } from "../core/markdown.js";
import { h } from "../vue.js";

const STYLES = { bold: "strong", italic: "em", struck: "s" };
const CACHED = 2_000;
const cache = new Map(); // of text to its tree: rows come and go while one scrolls

function tree(text) {
  const known = cache.get(text);
  if (known) return known;
  if (cache.size >= CACHED) cache.delete(cache.keys().next().value);
  const made = blocks(text);
  cache.set(text, made);
  return made;
}

function part(one, calls) {
  if (one.style) return h(STYLES[one.style], one.parts.map((inner) => part(inner, calls)));
  if (one.code) return h("code", { dir: "auto" }, one.text);
  if (one.href) {
    return h("a", { href: one.href, title: one.href === one.text ? undefined : one.href, target: "_blank", rel: "noopener noreferrer" }, one.text);
  }
  if (one.mention && calls.isCall) {
    return h("bdi", { class: ["mention", { me: calls.isMe(one.text.slice(1)) }] }, one.text);
  }
  return one.text;
}

function block(one, calls) {
  switch (one.kind) {
    case "code":
      return h("pre", { class: "code", tabindex: 0, "data-language": one.language || undefined }, h("code", { dir: "ltr" }, one.text));
    case "quote":
      return h("blockquote", one.blocks.map((inner) => block(inner, calls)));
    case "list":
      return h(one.start === null ? "ul" : "ol", { start: one.start ?? undefined }, one.items.map((item) => (
        h("li", { dir: "auto" }, item.map((inner) => part(inner, calls)))
      )));
    default:
      return h("p", { class: "said" }, one.parts.map((inner) => part(inner, calls)));
  }
}

const NO_CALLS = { isCall: false, isMe: () => false };

/** A message's text. `calls`: `{isCall, isMe(name)}`, whether it names anybody, and who is me. */
export function prose(text, calls = NO_CALLS) {
  return tree(text).map((one) => block(one, calls));
}
