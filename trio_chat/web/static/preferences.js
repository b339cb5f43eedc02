// Language and appearance: what was chosen, else what the browser prefers.
//
// Owns these two choices, their storage and their mark on the document. Gives the texts in the chosen language.

import { LANGUAGES, formats, preferredLanguage } from "./i18n.js";
import { ofPerson } from "./storage.js";
import { computed, ref, watchEffect } from "./vue.js";

export const THEMES = ["auto", "light", "dark"];

const saved = { language: ofPerson.get("language"), theme: ofPerson.get("theme") };

const isKnown = Object.hasOwn(LANGUAGES, saved.language ?? "");

export const language = ref(isKnown ? saved.language : preferredLanguage(navigator.languages));
export const theme = ref(THEMES.includes(saved.theme) ? saved.theme : "auto");

/** The texts; read `.value` while rendering and the picture follows the language. */
export const texts = computed(() => LANGUAGES[language.value]);
export const format = computed(() => formats(language.value, navigator.language));

export function chooseLanguage(chosen) {
  language.value = chosen;
  ofPerson.set("language", chosen);
}

export function chooseTheme(chosen) {
  theme.value = chosen;
  ofPerson.set("theme", chosen);
}

/** Let the document say what is chosen. */
export function applyPreferences() {
  const root = document.documentElement;
  watchEffect(() => (root.lang = format.value.tag.startsWith("zh") ? "zh-CN" : "en"));
  watchEffect(() => (root.dataset.theme = theme.value));
}
