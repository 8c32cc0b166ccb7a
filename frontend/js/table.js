// A keyed table: real <table> markup, rows kept by key, cells rewritten only when their text changed.

import { make, setClass, write } from "./dom.js";

// columns: [{title, numeric, render(cell, row), text(row)}]; give `text` for plain cells or `render` for others.
export class Table {
  constructor({ caption, columns, key, empty }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    const heads = columns.map(({ title, numeric, hidden }) =>
      make("th", { scope: "col", class: numeric ? "n" : "" }, make("span", { class: hidden ? "sr-only" : "" }, title)),
    );
    this.body = make("tbody");
    this.empty = make("p", { class: "empty" }, empty);
    this.table = make("table", { class: "list" }, make("caption", { class: "sr-only" }, caption), make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.node = make("div", {}, this.table, this.empty);
  }

  show(rows) {
    const kept = new Map();
    let before = null;
    for (const row of rows) {
      const key = this.key(row);
      const line = this.rows.get(key) ?? this.#line();
      kept.set(key, line);
      this.#fill(line, row);
      const next = before ? before.nextSibling : this.body.firstChild;
      if (next !== line.node) this.body.insertBefore(line.node, next);
      before = line.node;
    }
    for (const [key, line] of this.rows) if (!kept.has(key)) line.node.remove();
    this.rows = kept;
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
  }

  #line() {
    const cells = this.columns.map(({ numeric, kind }) => make("td", { class: [numeric ? "n" : "", kind ?? ""].join(" ").trim() }));
    return { node: make("tr", {}, ...cells), cells };
  }

  #fill(line, row) {
    line.node.row = row;
    this.columns.forEach((column, at) => {
      const cell = line.cells[at];
      if (column.render) column.render(cell, row);
      else write(cell, column.text(row));
    });
  }
}

// A cell whose colour follows a sign.
export function toned(cell, text, sign) {
  write(cell, text);
  setClass(cell, "up", sign > 0);
  setClass(cell, "down", sign < 0);
}
