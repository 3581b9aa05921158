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

  // hides the rows of models that are not asked for; ranks stay what they are
  for (const filters of document.querySelectorAll(".board-filters")) {
    const section = filters.closest("section");
    const choices = Array.from(filters.querySelectorAll("select"));
    filters.hidden = false;
    filters.addEventListener("change", () => {
      const wanted = choices.filter((choice) => choice.value !== "");
      let shown = 0;
      for (const row of section.querySelectorAll("tr[data-licence]")) {
        row.hidden = !wanted.every((choice) => row.dataset[choice.dataset.facts] === choice.value);
        shown += row.hidden || row.classList.contains("ghost") ? 0 : 1;
      }
      filters.querySelector("[data-shown]").textContent = String(shown);
    });
  }
})();
