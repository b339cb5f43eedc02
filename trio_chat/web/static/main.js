// Puts the page on the screen.

import { watchAttention } from "./notifications.js";
import { applyPreferences } from "./preferences.js";
import { begin, listen } from "./store.js";
import { App } from "./ui/app.js";
import { createApp } from "./vue.js";

applyPreferences();
listen();
watchAttention();
begin();
createApp(App).mount("#page");
