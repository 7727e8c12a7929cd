"use strict";
// Sorts and filters the table of results. Without it the table stands as it is, with every row.
(() => {
  const byId = (id) => document.getElementById(id);
  const body = document.querySelector("tbody");
  const rows = [...body.rows].map((row) => ({ row, checks: JSON.parse(row.dataset.checks) }));
  const heads = [...document.querySelectorAll("th[data-sorts]")];
  const picked = (id) => (byId(id).value === "any" ? "" : byId(id).value);
  const signs = { held: "✓", violated: "✗", discouraged: "!", inconclusive: "?" };

  const matches = ({ row, checks }) => {
    const check = picked("check");
    const outcome = picked("outcome");
    const outcomes = check ? [checks[check] || "not applicable"] : Object.values(checks);
    return (!picked("router") || row.dataset.router === picked("router"))
      && (!picked("version") || row.dataset.version === picked("version"))
      && (!byId("latest").checked || row.dataset.latest === "yes")
      && (!outcome || outcomes.includes(outcome));
  };

  const show = () => {
    const check = picked("check");
    const head = byId("chosen");
    head.hidden = !check;
    head.textContent = check;
    let shown = 0;
    for (const its of rows) {
      const cell = its.row.querySelector(".chosen");
      const word = its.checks[check] || "not applicable";
      cell.hidden = !check;
      cell.textContent = `${signs[word] || ""} ${word}`.trim();
      cell.dataset.tone = word;
      its.row.hidden = !matches(its);
      shown += its.row.hidden ? 0 : 1;
    }
    byId("shown").textContent = `${shown} of ${rows.length} results`;
  };

  const valueOf = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const compare = (a, b) => (Number.isNaN(Number(a)) || Number.isNaN(Number(b))
    ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b));
  const sort = (head) => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const place = head.cellIndex;
    rows.sort((a, b) => compare(valueOf(a.row, place), valueOf(b.row, place)) * (falling ? -1 : 1));
    body.append(...rows.map(({ row }) => row));
  };

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head));
    head.replaceChildren(button);
  }
  const form = document.querySelector("form");
  form.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
