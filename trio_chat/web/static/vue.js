// The one place that knows where Vue is.
export * from "./vendor/vue.runtime.esm-browser.prod.js";
