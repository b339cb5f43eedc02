// Putting text into the clipboard.

/** The clipboard is only there where the page is served securely; the old way works everywhere. Whether it went. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = document.createElement("textarea");
    box.value = text;
    box.className = "unseen";
    (document.querySelector("dialog[open]") ?? document.body).append(box);
    box.select();
    const isCopied = document.execCommand("copy");
    box.remove();
    return isCopied;
  }
}
