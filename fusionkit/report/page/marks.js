"use strict";
// A mark of a chart shows a tooltip with its numbers. All marks of a row and its line in the table are highlighted
// together, they fade if the row is filtered out, and a click on a mark scrolls to the line.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const byRow = new Map();
  const rowOf = (mark) => /\nrow (\S+)$/.exec(mark.getAttribute("aria-label"))?.[1];
  for (const mark of document.querySelectorAll(".role-mark [aria-label]")) {
    const id = rowOf(mark);
    if (id) byRow.set(id, [...(byRow.get(id) ?? []), mark]);
  }

  let highlighted = null;
  const highlight = (id) => {
    if (id === highlighted) return;
    for (const [row, on] of [[highlighted, false], [id, true]]) {
      for (const mark of byRow.get(row) ?? []) mark.classList.toggle("highlighted", on);
      document.getElementById(`row-${row}`)?.classList.toggle("highlighted", on);
    }
    highlighted = id;
  };

  const show = (event) => {
    const mark = event.target.closest?.(".role-mark [aria-label]");
    highlight((mark && rowOf(mark)) ?? event.target.closest?.("#table tbody tr")?.id.slice(4) ?? null);
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 4);
    const below = event.clientY + 16;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${below + height < innerHeight ? below : event.clientY - height - 10}px`;
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => (tip.hidden = true), { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  document.addEventListener("click", (event) => {
    const mark = event.target.closest?.(".role-mark [aria-label]");
    const row = mark && document.getElementById(`row-${rowOf(mark)}`);
    const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (row) row.scrollIntoView({ block: "center", behavior: reduced ? "auto" : "smooth" });
  });

  document.addEventListener("rows-shown", () => {
    for (const [id, marks] of byRow) {
      const hidden = document.getElementById(`row-${id}`)?.hidden ?? false;
      for (const mark of marks) mark.classList.toggle("faded", hidden);
    }
  });
})();
