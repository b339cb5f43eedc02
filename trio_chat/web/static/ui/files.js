// Files that a message carries: a picture in place if it is one, else a name to download.

import { h } from "../vue.js";
import { icon } from "./icons.js";

const MAX_WIDTH = 420;
const MAX_HEIGHT = 320;
const SHOWN = /^image\/(?:png|jpeg|gif|webp)$/;
const OWN = /^\/files\/[0-9a-f]{64}\/[^/?#]*$/; // nothing that would ask another server

/** `1.2 MB` */
export function sizeOf(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** The page may lie behind a path prefix, as its socket does. */
const addressOf = (url) => (OWN.test(url) ? new URL(url.slice(1), document.baseURI).href : null);

function picture(file, href, t) {
  const scale = Math.min(1, MAX_WIDTH / file.width, MAX_HEIGHT / file.height);
  const size = { width: Math.max(24, Math.round(file.width * scale)), height: Math.max(24, Math.round(file.height * scale)) };
  return h("a", { class: "picture", href, target: "_blank", rel: "noopener noreferrer", key: file.hash }, [
    h("img", { src: href, alt: t.pictureOf(file.name), loading: "lazy", decoding: "async", ...size }),
  ]);
}

function download(file, href) {
  return h("a", { class: "file", href, download: file.name, rel: "noopener", key: file.hash }, [
    icon("file"),
    h("bdi", { class: "file-name" }, file.name),
    h("span", { class: "file-size" }, sizeOf(file.size)),
  ]);
}

export function files(all, t) {
  return h("div", { class: "files" }, all.map((file) => {
    const href = addressOf(file.url);
    if (!href) return null;
    return SHOWN.test(file.type) && file.width > 0 && file.height > 0 ? picture(file, href, t) : download(file, href);
  }));
}
