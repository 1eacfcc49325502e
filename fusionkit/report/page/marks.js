"use strict";
// Marks of the charts say what they are where they are pointed at. Those of a row belong together: they and the row
// light up, fade where the row is filtered out, and a click goes to it.
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

  let lit = null;
  const light = (id) => {
    if (id === lit) return;
    for (const [one, on] of [[lit, false], [id, true]]) {
      for (const each of byRow.get(one) ?? []) each.classList.toggle("lit", on);
      document.getElementById(`row-${one}`)?.classList.toggle("lit", on);
    }
    lit = id;
  };

  const tell = (event) => {
    const mark = event.target.closest?.(".role-mark [aria-label]");
    light((mark && rowOf(mark)) ?? event.target.closest?.("#table tbody tr")?.id.slice(4) ?? null);
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 4);
    const below = event.clientY + 16;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${below + height < innerHeight ? below : event.clientY - height - 10}px`;
  };
  document.addEventListener("pointermove", tell);
  document.addEventListener("pointerdown", tell);
  document.addEventListener("scroll", () => (tip.hidden = true), { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  document.addEventListener("click", (event) => {
    const mark = event.target.closest?.(".role-mark [aria-label]");
    const row = mark && document.getElementById(`row-${rowOf(mark)}`);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (row) row.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  });

  document.addEventListener("rows-shown", () => {
    for (const [id, marks] of byRow) {
      const gone = document.getElementById(`row-${id}`)?.hidden ?? false;
      for (const mark of marks) mark.classList.toggle("away", gone);
    }
  });
})();
