// Small pieces that several parts of the page are made of.

import { hueOf, initials } from "../core/text.js";
import { LANGUAGES } from "../i18n.js";
import { THEMES, chooseLanguage, chooseTheme, format, language, texts, theme } from "../preferences.js";
import { h } from "../vue.js";
import { icon } from "./icons.js";

const HUES = 8; // as many as css/base.css has

/** The colour of a person, as a class. */
export const hue = (user) => `hue-${hueOf(user.id, HUES)}`;

export function avatar(user, size = "") {
  return h("span", { class: ["avatar", hue(user), size], "aria-hidden": "true" }, initials(user.name));
}

/** A name whose direction does not spill over into its surroundings. */
export const personName = (name) => h("bdi", { class: "name" }, name);

export function timeOf(seconds, attributes = {}) {
  const { time, full } = format.value;
  return h("time", { datetime: new Date(seconds * 1000).toISOString(), title: full(seconds), ...attributes }, time(seconds));
}

/** A button that shows a picture and says a word. */
export function iconButton(name, label, onClick, attributes = {}, ...children) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onClick, ...attributes }, [
    icon(name), ...children,
  ]);
}

/** A count of unread messages: stronger where they concern me. */
export function badge({ unread, mentions, kind }, t) {
  if (unread <= 0) return null;
  const isLoud = mentions > 0 || kind === "direct";
  const words = mentions > 0 ? t.unreadMentions(unread, mentions) : t.unreadCount(unread);
  return h("span", { class: ["badge", { loud: isLoud }] }, [
    h("span", { "aria-hidden": "true" }, `${mentions > 0 ? "@" : ""}${unread > 99 ? "99+" : unread}`),
    h("span", { class: "unseen" }, words),
  ]);
}

/** A choice of one in a row: radio buttons in the shape of a switch. */
export function choice({ name, label, options, chosen, choose }) {
  return h("fieldset", { class: "choice" }, [
    h("legend", label),
    h("div", { class: "choice-options" }, options.map(([value, text, lang]) => h("label", { key: value, lang }, [
      h("input", { type: "radio", name, value, checked: value === chosen, onChange: () => choose(value) }),
      h("span", text),
    ]))),
  ]);
}

export function languageChoice() {
  const options = Object.entries(LANGUAGES).map(([tag, { language: own }]) => [tag, own, tag === "zh" ? "zh-CN" : tag]);
  const label = texts.value.languageLabel;
  return choice({ name: "language", label, options, chosen: language.value, choose: chooseLanguage });
}

export function themeChoice() {
  const t = texts.value;
  const words = { auto: t.themeAuto, light: t.themeLight, dark: t.themeDark };
  const options = THEMES.map((one) => [one, words[one]]);
  return choice({ name: "theme", label: t.theme, options, chosen: theme.value, choose: chooseTheme });
}
