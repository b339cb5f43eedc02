// The languages of the page, and how times are written in them.
//
// Owns which languages there are and what they have in common; the texts are in a file for each (english.js, chinese.js),
// all with the same keys (a test says so). A text is a string or a function of its parts. Refuses to know who shows it.

import { chinese } from "./chinese.js";
import { english } from "./english.js";

export const LANGUAGES = { en: english, zh: chinese };

/** The language to begin with, from the browser's list of preferences. */
export function preferredLanguage(languages) {
  for (const tag of languages) {
    const language = tag.toLowerCase().split("-")[0];
    if (Object.hasOwn(LANGUAGES, language)) return language;
  }
  return "en";
}

const TAGS = { en: undefined, zh: "zh-CN" }; // English: whatever English (or clock) the browser is set to

/** Writers of dates and times in `language`. */
export function formats(language, browserLanguage = undefined) {
  const isEnglish = /^en\b/i.test(browserLanguage ?? "");
  const tag = TAGS[language] ?? (isEnglish ? browserLanguage : "en-GB");
  const time = new Intl.DateTimeFormat(tag, { hour: "numeric", minute: "2-digit" });
  const full = new Intl.DateTimeFormat(tag, { dateStyle: "full", timeStyle: "medium" });
  const weekday = new Intl.DateTimeFormat(tag, { weekday: "long", month: "long", day: "numeric" });
  const short = new Intl.DateTimeFormat(tag, { dateStyle: "short", timeStyle: "short" });
  const date = new Intl.DateTimeFormat(tag, { dateStyle: "long" });
  const at = (seconds) => new Date(seconds * 1000);
  return {
    tag,
    time: (seconds) => time.format(at(seconds)),
    short: (seconds) => short.format(at(seconds)),
    full: (seconds) => full.format(at(seconds)),
    day: (seconds) => (Math.abs(Date.now() / 1000 - seconds) < 180 * 86_400 ? weekday : date).format(at(seconds)),
  };
}
