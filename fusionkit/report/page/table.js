"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const lines = [...body.rows].map((row, index) => ({ row, index, text: row.textContent.toLowerCase() }));
  const words = document.getElementById("filter");
  const top = document.getElementById("top");
  const count = document.getElementById("count");
  const state = new URLSearchParams(location.hash.slice(1));

  const key = (line, column) => {
    const cell = line.row.cells[column];
    return cell.dataset.key ?? cell.textContent;
  };

  // Rows without a number are last in both directions.
  const compare = (column, sign, numeric) => (a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true }) || a.index - b.index;
    const [m, n] = [parseFloat(x), parseFloat(y)];
    if (isNaN(m) || isNaN(n)) return isNaN(m) - isNaN(n) || a.index - b.index;
    return sign * (m - n) || a.index - b.index;
  };

  const sort = (column, direction) => {
    const numeric = heads[column].classList.contains("number");
    lines.sort(compare(column, direction === "descending" ? -1 : 1, numeric));
    body.append(...lines.map((line) => line.row));
    heads.forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
    state.set("sort", heads[column].textContent);
    state.set("order", direction);
  };

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of lines) {
      const fits = wanted.every((word) => text.includes(word)) && !(top.checked && !row.matches(".best, .tied"));
      row.hidden = !fits;
      shown += fits;
    }
    document.dispatchEvent(new CustomEvent("rows-shown"));
    count.textContent = shown === lines.length ? `${shown} rows` : `${shown} of ${lines.length} rows`;
    state.set("filter", words.value);
    state.set("top", top.checked ? "1" : "");
  };

  const remember = () => {
    for (const [name, value] of [...state]) if (!value) state.delete(name);
    history.replaceState(null, "", `#${state}`);
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      sort(column, head.getAttribute("aria-sort") === first ? other : first);
      remember();
    });
    head.append(button);
  });
  for (const control of [words, top]) control.addEventListener("input", () => { filter(); remember(); });

  // The state is kept in the address: #sort=fusion&filter=mouth.
  const form = document.getElementById("controls");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = lines.length < 2;
  document.documentElement.classList.add("live");
  words.value = state.get("filter") ?? "";
  top.checked = state.get("top") === "1";
  const column = heads.findIndex((head) => head.textContent === state.get("sort"));
  if (column >= 0) sort(column, state.get("order") === "ascending" ? "ascending" : "descending");
  filter();
})();
