// Puts the page on the screen.

import { applyPreferences } from "./preferences.js";
import { begin, listen } from "./store.js";
import { App } from "./ui/app.js";
import { createApp } from "./vue.js";

applyPreferences();
listen();
begin();
createApp(App).mount("#page");
