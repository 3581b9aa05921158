"use strict";
// Sorts tables by the data-value of their cells, each body by itself; text is only ever read, never written.
(() => {
  const valueOf = (row, k) => row.cells[k].dataset.value;
  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));
  const compare = (a, b) => (isNumber(a) && isNumber(b) ? Number(a) - Number(b) : a.localeCompare(b, "zh"));

  const sortBy = (table, k, turn) => {
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows).filter((row) => !row.classList.contains("divider"));
      rows.sort((one, other) => {
        const [a, b] = [valueOf(one, k), valueOf(other, k)];
        if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, whichever way
        return turn * compare(a, b);
      });
      body.append(...rows);
    }
  };

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, k) => {
      head.querySelector("button").addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.classList.contains("num") && k > 0 ? "descending" : "ascending"; // high scores first
        const next = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
        for (const other of heads) other.setAttribute("aria-sort", other === head ? next : "none");
        sortBy(table, k, next === "ascending" ? 1 : -1);
      });
    });
  }
})();
