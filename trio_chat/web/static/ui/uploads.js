// Files on their way to the server: picked, dropped or pasted, sent over HTTP, with progress.
//
// Owns the requests and what the composer shows of them (`state.writing.files`: {key, name, size, progress, hash?, error?}).
// XMLHttpRequest and not fetch, because only it tells how much has been sent.

import { texts } from "../preferences.js";
import { newId } from "../browser.js";
import { notify, now, state, write } from "../store.js";
import { sizeOf } from "./files.js";

const MAX_FILES = 10; // on one message
const requests = new Map(); // by key

export const mayUpload = () => (state.view?.limits.max_file_bytes ?? 0) > 0;

/** Take these files up for the next message. */
export function upload(list) {
  const t = texts.value;
  const most = state.view.limits.max_file_bytes;
  if (!mayUpload()) return notify(t.noFiles);
  for (const file of list) {
    if (state.writing.files.length >= MAX_FILES) return notify(t.tooManyFiles(MAX_FILES));
    if (file.size > most) notify(t.fileTooBig(file.name, sizeOf(most)));
    else if (file.size > 0) send(file);
  }
}

function change(key, news) {
  const { files } = state.writing;
  if (!files.some((one) => one.key === key)) return;
  write({ files: files.map((one) => (one.key === key ? { ...one, ...news } : one)) });
}

const safeName = (name) => name.replace(/[\p{Cc}\p{Cf}/\\]/gu, "_").slice(0, 120).trim() || "file";

function send(file) {
  const key = newId();
  const name = safeName(file.name);
  write({ files: [...state.writing.files, { key, name, size: file.size, progress: 0 }] });
  const request = new XMLHttpRequest();
  requests.set(key, request);
  const url = new URL("files", document.baseURI);
  url.hash = "";
  url.search = new URLSearchParams({ name });
  request.open("POST", url);
  request.setRequestHeader("Authorization", `Bearer ${now.chat.session}`);
  request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
  request.upload.onprogress = ({ loaded, total }) => total > 0 && change(key, { progress: loaded / total });
  request.onload = () => {
    requests.delete(key);
    if (request.status !== 201) return failed(key, name, request.responseText);
    const { hash } = JSON.parse(request.responseText);
    change(key, { progress: 1, hash });
  };
  request.onerror = () => failed(key, name, "");
  request.send(file);
}

function failed(key, name, why) {
  requests.delete(key);
  notify(texts.value.uploadFailed(name, why.trim().slice(0, 200)));
  drop(key);
}

/** Take a file off the message. */
export function drop(key) {
  requests.get(key)?.abort();
  requests.delete(key);
  write({ files: state.writing.files.filter((one) => one.key !== key) });
}
