import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { fragmentOf, hostOnlyHere, invitationLink, readAddress, roomLink, socketAddress } from "../../../trio_chat/web/static/core/address.js";
import { Rows } from "../../../trio_chat/web/static/core/rows.js";
import { hueOf, initials, isEmoji, messageText, parts, roomName, userName } from "../../../trio_chat/web/static/core/text.js";
import { LANGUAGES, preferredLanguage } from "../../../trio_chat/web/static/i18n.js";

// --- names ---

test("names are trimmed and composed, and refused as the server would", () => {
  assert.equal(userName("  Ann  "), "Ann");
  assert.equal(userName("Zoe\u0308"), "Zo\u00eb");
  assert.equal(userName("😀".repeat(32)), "😀".repeat(32));
  for (const bad of ["", "   ", "x".repeat(33), "a\u202eb", "a\u200bb", "a\nb", "a\u2028b", "\ud800"]) {
    assert.equal(userName(bad), null, JSON.stringify(bad));
  }
});

test("rooms are letters, digits and three signs of any script", () => {
  for (const good of ["lobby", "客厅", "a.b-c_d", "٣٤", "x".repeat(64)]) assert.equal(roomName(good), good);
  assert.equal(roomName(" #lobby "), "lobby");
  for (const bad of ["", "a b", "a/b", "½", "x".repeat(65), "<b>"]) assert.equal(roomName(bad), null, bad);
});

test("the server's own cases come out the same", () => {
  const cases = JSON.parse(readFileSync(new URL("../../chat/names.json", import.meta.url), "utf-8"));
  for (const [given, name] of cases.rooms) assert.equal(roomName(given), name, JSON.stringify(given));
  for (const [given, name] of cases.users) assert.equal(userName(given), name, JSON.stringify(given));
});

test("a message has no blank lines around it and no halves of characters", () => {
  assert.equal(messageText("  \n\n  indented\n\nend \n"), "  indented\n\nend");
  assert.equal(messageText(" \n\t "), "");
  assert.equal(messageText("a\ud83d b\ude00 😀"), "a\ufffd b\ufffd 😀");
});

// --- links ---

const links = (text) => parts(text).filter((part) => part.href).map((part) => part.text);

test("addresses of the web become links, without the sentence around them", () => {
  const cases = [
    ["see https://example.org.", ["https://example.org"]],
    ["(https://example.org/a_(b))", ["https://example.org/a_(b)"]],
    ["https://example.org/a?b=c&d#e, and", ["https://example.org/a?b=c&d#e"]],
    ["看 https://example.org/x。好", ["https://example.org/x"]],
    ["http://a.example http://b.example", ["http://a.example", "http://b.example"]],
    ["HTTPS://EXAMPLE.ORG", ["HTTPS://EXAMPLE.ORG"]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(links(text), expected, text);
});

test("nothing else does", () => {
  const cases = [
    "javascript:alert(1)", "data:text/html,x", "ftp://example.org", "//example.org", "example.org", "http://", "https:// x",
    "https://bank.example@evil.example/", "file:///etc/passwd",
  ];
  for (const text of cases) assert.deepEqual(links(text), [], text);
});

test("a link ends where a character would turn its direction", () => {
  assert.deepEqual(links("https://example.org/\u202egpj.exe"), ["https://example.org/"]);
});

test("the parts of a text are the text, whatever it is", () => {
  for (const text of ["", "x", "a https://e.org b https://f.org", "https://e.org)))", "<b>https://e.org</b>", "https://[", `${"(".repeat(2000)}https://e.org${")".repeat(2000)}`]) {
    assert.equal(parts(text).map((part) => part.text).join(""), text);
  }
});

test("a few emoji and nothing else are shown large", () => {
  for (const yes of ["👍", "👍 🎉", "👩‍👩‍👧", "🇨🇳", "❤️"]) assert.equal(isEmoji(yes), true, yes);
  for (const no of ["", "ok 👍", "1", "12 3", "#", "👍".repeat(30)]) assert.equal(isEmoji(no), false, no);
});

test("initials are whole characters", () => {
  const cases = [["ann", "A"], ["Marek Novák", "MN"], ["李雷", "李"], ["👩‍👩‍👧 x", "👩‍👩‍👧"], ["a.b", "AB"], ["-", "-"]];
  for (const [name, expected] of cases) assert.equal(initials(name), expected);
});

test("a colour is one of those that there are, and stays", () => {
  for (const id of ["", "guest-1", "客"]) {
    assert.ok(hueOf(id, 8) >= 0 && hueOf(id, 8) < 8);
    assert.equal(hueOf(id, 8), hueOf(id, 8));
  }
});

// --- addresses ---

test("the page's address names room and person", () => {
  const cases = [
    ["http://h/", { room: "lobby", name: null }],
    ["http://h/?name=ann&room=tea", { room: "tea", name: "ann" }],
    ["http://h/?name=&room=#", { room: "lobby", name: null }],
    ["http://h/?room=tea#coffee", { room: "coffee", name: null }],
    ["http://h/#%E5%AE%A2%E5%8E%85", { room: "客厅", name: null }],
    ["http://h/#%E5%AE", { room: null, wrongRoom: "%E5%AE", name: null }],
    ["http://h/#a%20b", { room: null, wrongRoom: "a b", name: null }],
    ["http://h/?name=a%E2%80%AEb", { room: "lobby", name: null, wrongName: "a\u202eb" }],
    ["http://h/?name=%20#tea", { room: "tea", name: null, wrongName: " " }],
  ];
  for (const [href, expected] of cases) {
    const isUsual = expected.room === "lobby";
    assert.deepEqual(readAddress(href), {
      wrongRoom: null, wrongName: null, invitation: null, seq: null, isUsual, ...expected,
    }, href);
  }
});

test("the fragment may be an invitation, or lead to one message", () => {
  const invited = readAddress(invitationLink("https://h/?name=ann#x", "客厅", "a+b/c="));
  assert.deepEqual([invited.room, invited.invitation, invited.seq], ["客厅", "a+b/c=", null]);
  const { room, seq, invitation } = readAddress(`https://h/${fragmentOf("tea", 17)}`);
  assert.deepEqual([room, seq, invitation], ["tea", 17, null]);
  assert.deepEqual(readAddress("https://h/#/join/a%20b?invitation=x").room, null);
});

test("a link to a room names nobody and leads back to the room", () => {
  const link = roomLink("https://h/chat/?name=ann&room=x&theme=y#z", "客厅");
  assert.equal(link, "https://h/chat/?theme=y#%E5%AE%A2%E5%8E%85");
  assert.equal(readAddress(link).room, "客厅");
});

test("an address of this computer for itself is known as such", () => {
  for (const host of ["127.0.0.1", "127.1.2.3", "127.1", "localhost", "LOCALHOST", "chat.localhost", "[::1]", "0.0.0.0", "[::]"]) {
    assert.ok(hostOnlyHere(`http://${host}:8080/#tea`), host);
  }
  assert.equal(hostOnlyHere("http://127.0.0.1:8080/"), "127.0.0.1");
  for (const host of ["192.168.1.20", "10.127.0.0", "localhost.example", "127.example", "notlocalhost", "[fe80::1]", "chat.example"]) {
    assert.equal(hostOnlyHere(`http://${host}:8080/#tea`), null, host);
  }
});

test("the socket is beside the page, as secure as the page", () => {
  const cases = [
    ["http://h:8080/", "ws://h:8080/ws"],
    ["https://h/chat/?a=b#c", "wss://h/chat/ws"],
    ["http://[::1]:1/index.html", "ws://[::1]:1/ws"],
  ];
  for (const [base, expected] of cases) assert.equal(socketAddress(base), expected);
});

// --- rows ---

const user = (id) => ({ id, name: id });
const message = (seq, id, at, more = {}) => ({ op: "message", seq, at, user: user(id), text: "t", ...more });
const newRows = () => new Rows({ isMine: ({ id }) => id === "me", dayOf: (seconds) => String(Math.floor(seconds / 86_400)) });
const show = ({ kind, opens, closes }) => (opens === undefined ? kind : `${kind}${opens ? " opens" : ""}${closes ? " closes" : ""}`);
const build = (rows, entries, more = {}) => rows.build({ entries, items: [], older: true, isLoaded: true, ...more });

test("what one person says in a while is one group", () => {
  const entries = [message(1, "a", 0), message(2, "a", 100), message(3, "b", 110), message(4, "b", 500), message(5, "b", 501)];
  assert.deepEqual(build(newRows(), entries).map(show), [
    "day", "message opens", "message closes", "message opens closes", "message opens", "message closes",
  ]);
});

test("a new day begins a new group", () => {
  const kinds = build(newRows(), [message(1, "a", 86_390), message(2, "a", 86_410)]).map(show);
  assert.deepEqual(kinds, ["day", "message opens closes", "day", "message opens closes"]);
});

test("my unsent messages go on with my group, and become history without a new row", () => {
  const rows = newRows();
  const item = { id: "i1", text: "t", at: 5, state: "sending" };
  const before = build(rows, [message(1, "me", 0, { id: "i0" })], { items: [item] });
  assert.deepEqual(before.map(show), ["day", "message opens", "unsent closes"]);
  const after = build(rows, [message(1, "me", 0, { id: "i0" }), message(2, "me", 5, { id: "i1" })]);
  assert.deepEqual(after.map(({ key }) => key), before.map(({ key }) => key));
});

test("rows that look the same are the same object", () => {
  const rows = newRows();
  const entries = [message(1, "a", 0), message(2, "b", 1)];
  const before = build(rows, entries);
  const after = build(rows, [...entries, message(3, "c", 2)]);
  assert.equal(after.length, 4);
  before.forEach((row, index) => assert.equal(after[index], row));
  const grown = build(rows, [...entries, message(3, "b", 2)]);
  assert.notEqual(grown[2], before[2]);
});

test("a line is drawn before the first unread message of others, once", () => {
  const entries = [message(1, "a", 0), message(2, "me", 1), message(3, "a", 2), message(4, "a", 3)];
  const kinds = build(newRows(), entries, { unread: 1 }).map(show);
  assert.deepEqual(kinds, ["day", "message opens closes", "message opens closes", "unread", "message opens", "message closes"]);
});

test("the beginning is shown where it is known", () => {
  assert.deepEqual(build(newRows(), [], { older: false }).map(show), ["beginning"]);
  assert.deepEqual(build(newRows(), [], { older: false, isLoaded: false }), []);
});

// --- languages ---

const keys = (texts) => Object.entries(texts).flatMap(([key, value]) => (typeof value === "object" ? keys(value).map((inner) => `${key}.${inner}`) : [`${key}:${typeof value}:${value.length && typeof value === "function" ? value.length : ""}`]));

test("every language has every text, with the same parts", () => {
  for (const texts of Object.values(LANGUAGES)) assert.deepEqual(keys(texts).sort(), keys(LANGUAGES.en).sort());
});

const WHO = { name: "ann" };
const PARTS = { // of the texts that are made of more than a number or a name
  typing: [[["a"]], [["a", "b"]], [["a", "b", "c"]]],
  reactedBy: [[["ann"], 1], [["ann", "bob"], 5]],
  topicIs: [[WHO, ""], [WHO, "tea"]],
  created: [[WHO]],
  asks: [[WHO, ""], [WHO, "please"]],
  changedSettings: [[WHO, { archived: true, slow: 5, isPrivate: false }], [WHO, { slow: 0 }]],
  became: ["none", "banned", "member", "moderator", "owner"].flatMap((role) => [[WHO, WHO, role, true], [WHO, WHO, role, false]]),
};

test("every text makes words", () => {
  for (const texts of Object.values(LANGUAGES)) {
    for (const [key, value] of Object.entries(texts)) {
      if (typeof value !== "function") continue;
      for (const args of PARTS[key] ?? [[1, "x"], [2, "x"], [3, "x"]]) {
        const words = value(...args);
        assert.ok(key === "closedWhy" || words.length > 0, key);
        assert.doesNotMatch([words].flat().map((part) => part.name ?? part.code ?? part).join(""), /undefined|NaN|\[object/, key);
      }
    }
  }
});

test("the browser's first language that we speak is taken", () => {
  const cases = [[["zh-CN", "en"], "zh"], [["fr", "zh"], "zh"], [["fr"], "en"], [[], "en"], [["en-GB"], "en"], [["constructor"], "en"]];
  for (const [languages, expected] of cases) assert.equal(preferredLanguage(languages), expected);
});
