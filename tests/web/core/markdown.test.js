import assert from "node:assert/strict";
import { test } from "node:test";

import { blocks } from "../../../trio_chat/web/static/core/markdown.js";

const bold = (...parts) => ({ style: "bold", parts });
const italic = (...parts) => ({ style: "italic", parts });
const line = (text) => blocks(text)[0]?.parts;

/** Everything that a tree shows, without the signs. */
function words(value) {
  if (Array.isArray(value)) return value.map(words).join("");
  return value.text ?? words(value.parts ?? value.blocks ?? value.items);
}

test("spans", () => {
  const cases = [
    ["plain", [{ text: "plain" }]],
    ["**b**", [bold({ text: "b" })]],
    ["a *b* c", [{ text: "a " }, italic({ text: "b" }), { text: " c" }]],
    ["_b_ and __c__", [italic({ text: "b" }), { text: " and " }, bold({ text: "c" })]],
    ["~~b~~", [{ style: "struck", parts: [{ text: "b" }] }]],
    ["**a *b* c**", [bold({ text: "a " }, italic({ text: "b" }), { text: " c" })]],
    ["`**b**`", [{ text: "**b**", code: true }]],
    ["``a`b``", [{ text: "a`b", code: true }]],
    ["\\*b\\*", [{ text: "*b*" }]],
    ["hi @bob.", [{ text: "hi " }, { text: "@bob", mention: true }, { text: "." }]],
    ["@李雷 好", [{ text: "@李雷", mention: true }, { text: " 好" }]],
  ];
  for (const [text, parts] of cases) assert.deepEqual(line(text), parts, text);
});

test("what only looks like a sign stays text", () => {
  for (const text of ["2 * 3 * 4", "snake_case_name", "a ** b", "**", "`", "``", "~", "ann@example.org", "@", "__", "**a\n\nb**", "\\", "```", "[x](y)", "-", "#lobby"]) {
    assert.deepEqual(line(text), [{ text }], text);
  }
});

test("links go where they say, to the web or a mailbox only", () => {
  assert.deepEqual(line("[the site](https://example.org/a)"), [{ text: "the site", href: "https://example.org/a" }]);
  assert.deepEqual(line("[mail](mailto:a@b.org)"), [{ text: "mail", href: "mailto:a@b.org" }]);
  assert.equal(line("see https://e.org/a_b_c*d*").find(({ href }) => href).href, "https://e.org/a_b_c*d");
  const refused = [
    "[x](javascript:alert(1))", "[x](data:text/html,x)", "[x](//evil.example)", "[x](https://bank.example@evil.example/)",
    "[https://bank.example](https://evil.example/)", "[bank.example/login](https://evil.example/)", "[x](mailto:a@b?subject=<script>)",
  ];
  for (const text of refused) assert.ok(!JSON.stringify(line(text)).includes('"text":"x","href"') && words(line(text)) === text, text);
  assert.ok(!line(refused[4])[0].href);
});

test("blocks", () => {
  assert.deepEqual(blocks("a\n```js\nx < 1\n\n  y\n```\nb"), [
    { kind: "text", parts: [{ text: "a" }] }, { kind: "code", language: "js", text: "x < 1\n\n  y" }, { kind: "text", parts: [{ text: "b" }] },
  ]);
  assert.deepEqual(blocks("> a\n> **b**\nc").map(({ kind }) => kind), ["quote", "text"]);
  assert.deepEqual(blocks("- a\n- *b*\n  more")[0], {
    kind: "list", start: null, items: [[{ text: "a" }], [italic({ text: "b" }), { text: "\nmore" }]],
  });
  assert.equal(blocks("3. a\n4. b")[0].start, 3);
  assert.deepEqual(blocks("a\n\nb"), [{ kind: "text", parts: [{ text: "a\n\nb" }] }]);
  assert.deepEqual(blocks("```\nnever closed")[0], { kind: "code", language: "", text: "never closed" });
});

test("the text of a message is never lost: what has no signs comes out as it went in", () => {
  for (const text of ["<b>&amp;", "\u202eabc", "a\u0000b", "x".repeat(10_000), "😀".repeat(3_000), "\ud83d", "a\r\nb"]) {
    assert.equal(words(blocks(text)), text);
  }
});

test("hostile texts take time in proportion to their length, and nest only so deep", () => {
  const pieces = ["*", "_", "**a", "[", "[a](", "`", "``", "> ", "~~", "@", "\\", "*_~`", "- ", "1. ", "https://", "**_"];
  for (const piece of pieces) {
    for (const glue of ["", " ", "\n"]) {
      const text = Array(Math.floor(10_000 / (piece.length + glue.length))).fill(piece).join(glue);
      const before = process.cpuUsage().user;
      blocks(text);
      assert.ok(process.cpuUsage().user - before < 1_500_000, `${JSON.stringify(piece + glue)} took too long`);
    }
  }
  const depth = (value) => 1 + Math.max(0, ...(value.blocks ?? value.parts ?? []).map(depth));
  assert.ok(depth(blocks(`${"> ".repeat(3_000)}a`)[0]) < 12);
});
