// What the browser keeps between visits and reloads.
//
// Owns the names of the keys and the fact that storage may be absent, full or hold nonsense: then the page
// forgets, and works. Refuses to know what the values mean.
//
// Of the person (name, language, theme): until they clear it. Of the tab (session, history at hand, unsent
// messages, draft): as long as the tab lives, so that two tabs are two members.

const PREFIX = `trio-chat:${location.pathname}:`;

function keeper(area) {
  const storage = () => window[area]; // reading this may throw where storage is forbidden
  return {
    get(key) {
      try {
        return JSON.parse(storage().getItem(PREFIX + key));
      } catch {
        return null;
      }
    },
    set(key, value) {
      try {
        if (value === null || value === undefined) storage().removeItem(PREFIX + key);
        else storage().setItem(PREFIX + key, JSON.stringify(value));
      } catch {
        // Full or forbidden: what is on screen stays right, a reload will know less.
      }
    },
  };
}

export const ofPerson = keeper("localStorage");
export const ofTab = keeper("sessionStorage");
