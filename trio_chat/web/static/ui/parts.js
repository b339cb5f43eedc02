// Small pieces that several parts of the page are made of.

import { hueOf, initials, parts } from "../core/text.js";
import { LANGUAGES } from "../i18n.js";
import { THEMES, chooseLanguage, chooseTheme, language, texts, theme } from "../preferences.js";
import { h } from "../vue.js";

const HUES = 8; // as many as css/base.css has

/** The colour of a person, as a class. */
export const hue = (user) => `hue-${hueOf(user.id, HUES)}`;

export function avatar(user, size = "") {
  return h("span", { class: ["avatar", hue(user), size], "aria-hidden": "true" }, initials(user.name));
}

/** A name whose direction does not spill over into its surroundings. */
export const personName = (name) => h("bdi", { class: "name" }, name);

/** Text as text, with links to the web. */
export function prose(text) {
  return parts(text).map(({ text: part, href }) => (href
    ? h("a", { href, target: "_blank", rel: "noopener noreferrer", dir: "ltr" }, part)
    : part));
}

/** A choice of one in a row: radio buttons in the shape of a switch. */
function choice({ name, label, options, chosen, choose }) {
  return h("fieldset", { class: "choice" }, [
    h("legend", label),
    h("div", { class: "choice-options" }, options.map(([value, text, lang]) => h("label", { key: value, lang }, [
      h("input", { type: "radio", name, value, checked: value === chosen, onChange: () => choose(value) }),
      h("span", text),
    ]))),
  ]);
}

export function languageChoice() {
  const options = Object.entries(LANGUAGES).map(([tag, { language: own }]) => [tag, own, tag]);
  const label = texts.value.languageLabel;
  return choice({ name: "language", label, options, chosen: language.value, choose: chooseLanguage });
}

export function themeChoice() {
  const t = texts.value;
  const words = { auto: t.themeAuto, light: t.themeLight, dark: t.themeDark };
  const options = THEMES.map((one) => [one, words[one]]);
  return choice({ name: "theme", label: t.theme, options, chosen: theme.value, choose: chooseTheme });
}
