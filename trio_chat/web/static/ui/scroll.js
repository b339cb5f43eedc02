// Keeps the log where its reader is, and only those of its rows on the page that are near what is in sight.
//
// Owns the scroll position of one element and the window of rows: at the newest message while the reader is there,
// else exactly where they look, through insertions at both ends and changes of size. Works by hand because browsers
// differ in what they anchor. Where rows lie is core/heights.js's; what is in them nobody's here.

import { Heights } from "../core/heights.js";

const AT_END = 48; // pixels from the end that still count as being there
const NEAR = 1_500; // pixels from an end of what is at hand at which more is asked for
const BEYOND = 900; // pixels of rows that are kept ready on either side of what is in sight
const MARGIN = 400; // when fewer are left, the window moves
const FEW = 80; // rows that are all on the page, without a window

export class ScrollKeeper {
  /** @param on `{moved(isAtEnd)}`, `{nearStart()}`, `{nearEnd()}`, `{window([start, end])}`: other rows are wanted */
  constructor(on) {
    this.on = on;
    this.heights = new Heights();
    this.isAtEnd = true;
    this.anchor = null; // {key, delta}: the first message in sight, and how much of it is above
    this.start = 0;
    this.end = 0;
  }

  attach(element, content) {
    Object.assign(this, { element, content });
    this.onScroll = () => this.#scrolled();
    element.addEventListener("scroll", this.onScroll, { passive: true });
    this.width = element.clientWidth;
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(element);
    this.observer.observe(content);
    this.settle();
  }

  detach() {
    this.observer.disconnect();
    this.element.removeEventListener("scroll", this.onScroll);
  }

  /** The rows are these: which of them are to be on the page, as `{start, end, before, after}` (pixels around them). */
  layOut(rows) {
    const { heights } = this;
    if (heights.rows !== rows) heights.setRows(rows);
    if (rows.length <= FEW || !this.element) {
      this.start = rows.length <= FEW ? 0 : rows.length - FEW;
      this.end = rows.length;
    } else {
      const top = this.#wanted();
      [this.start, this.end] = heights.range(top - BEYOND, top + this.element.clientHeight + BEYOND);
    }
    const { start, end } = this;
    return { start, end, before: heights.offsets[start], after: heights.total - heights.offsets[end] };
  }

  /** Where the scroll position should be, by what is known of heights. */
  #wanted() {
    const { heights, element, anchor } = this;
    if (this.isAtEnd) return Math.max(0, heights.total + this.#lead() - element.clientHeight);
    const offset = anchor && heights.offsetOf(anchor.key);
    return offset === null || offset === undefined ? element.scrollTop - this.#lead() : offset + anchor.delta;
  }

  /** What lies above the first row within the scrolled content: padding and words about the history. */
  #lead() {
    return this.content?.offsetTop ?? 0;
  }

  /** After the page has changed: measure, and put the reader back to where they were. */
  settle() {
    const { element, heights } = this;
    this.#measure();
    const top = this.isAtEnd ? element.scrollHeight : this.#wanted() + this.#lead();
    if (Math.abs(element.scrollTop - top) > 0.5) element.scrollTop = top;
    if (heights.rows.length > FEW) this.#check();
    this.#ask();
  }

  #measure() {
    const pairs = [];
    for (const row of this.content.children) {
      const { key } = row.dataset;
      if (key) pairs.push([key, row.getBoundingClientRect().height]);
    }
    return this.heights.measure(pairs);
  }

  toEnd() {
    this.isAtEnd = true;
    this.anchor = null;
    this.#check(true);
    this.element.scrollTop = this.element.scrollHeight;
  }

  /** Have the row with this key in the middle; whether it is among the rows. */
  toKey(key) {
    const offset = this.heights.offsetOf(key);
    if (offset === null) return false;
    this.isAtEnd = false;
    this.anchor = { key, delta: -this.element.clientHeight / 3 };
    this.#check(true);
    this.on.moved(false);
    return true;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    this.isAtEnd = scrollHeight - scrollTop - clientHeight <= AT_END;
    this.#anchor(scrollTop);
    this.on.moved(this.isAtEnd);
    this.#check();
    this.#ask();
  }

  #anchor(scrollTop) {
    const { heights } = this;
    if (heights.rows.length === 0) return;
    const top = scrollTop - this.#lead();
    let index = heights.indexAt(top);
    // What stands between messages, a day's name above all, stands elsewhere when earlier ones have come.
    while (index < heights.rows.length - 1 && !heights.rows[index].message) index += 1;
    this.anchor = { key: heights.rows[index].key, delta: top - heights.offsets[index] };
  }

  /** Ask for another window if what is in sight comes near the end of the present one. */
  #check(always = false) {
    const { heights, element } = this;
    const { length } = heights.rows;
    if (length <= FEW) return;
    const top = this.#wanted();
    const bottom = top + element.clientHeight;
    const isShort = (this.start > 0 && top - heights.offsets[this.start] < MARGIN)
      || (this.end < length && heights.offsets[this.end] - bottom < MARGIN);
    if (always || isShort) this.on.window();
  }

  #resized() {
    const { clientWidth } = this.element;
    if (clientWidth !== this.width) {
      this.width = clientWidth;
      this.heights.forget();
      this.on.window();
    }
    this.settle();
  }

  #ask() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    if (scrollTop < NEAR) this.on.nearStart();
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.on.nearEnd();
  }
}
