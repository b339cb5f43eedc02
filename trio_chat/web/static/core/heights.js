// Where each row of a long list lies, when only those in sight are there to be measured.
//
// Owns heights: measured ones by key, an estimate for the others, and the sum up to each row. Pure arithmetic in pixels;
// refuses to know about elements. A few thousand rows at most: a change costs one pass over them. The estimate only
// changes with the list, so that measuring some rows never moves others that stand on the page as a space.

const FIRST_GUESS = 44; // pixels of a row before any was measured

export class Heights {
  constructor() {
    this.measured = new Map();
    this.rows = [];
    this.offsets = new Float64Array(1);
    this.indices = new Map();
    this.sum = 0; // of measured ones, for the estimate
    this.estimate = FIRST_GUESS;
  }

  /** The list is this now, rows with a `key`. Heights of rows that are gone are forgotten. */
  setRows(rows) {
    this.rows = rows;
    this.indices = new Map(rows.map(({ key }, index) => [key, index]));
    if (this.measured.size > 4 * rows.length + 100) {
      this.measured = new Map([...this.measured].filter(([key]) => this.indices.has(key)));
      this.sum = [...this.measured.values()].reduce((one, other) => one + other, 0);
    }
    if (this.measured.size > 0) this.estimate = this.sum / this.measured.size;
    this.#lay();
  }

  /** These rows turned out to be so high: pairs of key and pixels. Whether anything is new. */
  measure(pairs) {
    let isNew = false;
    for (const [key, height] of pairs) {
      const before = this.measured.get(key);
      if (before !== undefined && Math.abs(before - height) < 0.25) continue;
      this.sum += height - (before ?? 0);
      this.measured.set(key, height);
      isNew = true;
    }
    if (isNew) this.#lay();
    return isNew;
  }

  /** All widths changed: what was measured is an estimate at best. */
  forget() {
    this.measured.clear();
    this.sum = 0;
    this.#lay();
  }

  get total() {
    return this.offsets[this.rows.length];
  }

  /** Where the row with this key begins, or null. */
  offsetOf(key) {
    const index = this.indices.get(key);
    return index === undefined ? null : this.offsets[index];
  }

  /** The row that covers this distance from the top. */
  indexAt(distance) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.offsets[middle] <= distance) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  /** The rows that touch a stretch, as `[start, end)`. */
  range(from, to) {
    if (this.rows.length === 0) return [0, 0];
    return [this.indexAt(Math.max(0, from)), this.indexAt(Math.max(0, to)) + 1];
  }

  #lay() {
    const { rows, estimate } = this;
    const offsets = new Float64Array(rows.length + 1);
    for (let index = 0; index < rows.length; index += 1) {
      offsets[index + 1] = offsets[index] + (this.measured.get(rows[index].key) ?? estimate);
    }
    this.offsets = offsets;
  }
}
