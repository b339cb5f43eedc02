// Loads the page, and says so in plain words if a part of it is missing, for instance Vue before the build.

import("./main.js").catch((error) => {
  const place = document.getElementById("page");
  const text = document.createElement("p");
  text.className = "boot-error";
  text.textContent = "The page could not be loaded completely. In a source checkout: python scripts/build_web.py";
  place.replaceChildren(text);
  throw error;
});
