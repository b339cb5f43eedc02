// Keeps the log where its reader is: at the newest message while they are there, else exactly where they look.
//
// Owns the scroll position of one element through insertions at both ends and changes of size. Works by hand
// because browsers differ in what they anchor. Refuses to know what is in the rows.

const AT_END = 48; // pixels from the end that still count as being there
const NEAR = 600; // pixels from an end at which more is asked for

export class ScrollKeeper {
  /** @param on `{moved(isAtEnd)}`, `{nearStart()}`, `{nearEnd()}` */
  constructor(on) {
    this.on = on;
    this.isAtEnd = true;
    this.anchor = null;
  }

  attach(element, content) {
    Object.assign(this, { element, content });
    this.onScroll = () => this.#scrolled();
    element.addEventListener("scroll", this.onScroll, { passive: true });
    this.observer = new ResizeObserver(() => this.isAtEnd && this.toEnd());
    this.observer.observe(element);
    this.observer.observe(content);
    this.toEnd();
  }

  detach() {
    this.observer.disconnect();
    this.element.removeEventListener("scroll", this.onScroll);
  }

  toEnd() {
    this.isAtEnd = true;
    this.element.scrollTop = this.element.scrollHeight;
  }

  /** Before the rows change: remember the first one in sight. */
  before() {
    this.anchor = null;
    if (this.isAtEnd) return;
    const top = this.element.getBoundingClientRect().top;
    for (const row of this.content.children) {
      const box = row.getBoundingClientRect();
      if (box.bottom <= top || !row.dataset.anchor) continue;
      this.anchor = { row, at: box.top };
      return;
    }
  }

  /** After: put it back to where it was. */
  after() {
    if (this.isAtEnd) this.toEnd();
    else if (this.anchor?.row.isConnected) {
      this.element.scrollTop += this.anchor.row.getBoundingClientRect().top - this.anchor.at;
    }
    this.#ask();
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    this.isAtEnd = scrollHeight - scrollTop - clientHeight <= AT_END;
    this.on.moved(this.isAtEnd);
    this.#ask();
  }

  #ask() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    if (scrollTop < NEAR) this.on.nearStart();
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.on.nearEnd();
  }
}
