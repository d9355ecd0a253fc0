// Sorting, filtering, numbers on figures, contents. Without it the page says the same, unsorted.
"use strict";
document.documentElement.classList.add("js");

function create(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// Tables: a click on a head sorts by its column: up, down, then as the table came.
function keyOf(cell) {
  if ("value" in cell.dataset) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  return text === "–" || text === "" ? null : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b);
}

function sorted(rows, column, order) {
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [keyOf(row.cells[column]), row]);
  const known = keyed.filter(([key]) => key !== null).sort((a, b) => sign * compare(a[0], b[0]));
  return [...known, ...keyed.filter(([key]) => key === null)].map(([, row]) => row);
}

function makeSortable(table) {
  const body = table.tBodies[0], original = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = create("button", { type: "button", title: "Sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { ascending: "descending", descending: null }[head.getAttribute("aria-sort") ?? ""];
      const next = order === undefined ? "ascending" : order;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(original, column, next) : original));
    });
  });
}

// Long tables: a box keeps the rows that hold every word typed.
function makeFilter(scroll) {
  const rows = [...scroll.querySelectorAll("tbody tr")];
  const count = create("output", {});
  const box = create("input", { type: "search", autocomplete: "off", placeholder: "words that a row must hold" });
  scroll.before(create("label", { className: "filter" }, "Filter: ", box, count));
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
    count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
}

// Figures: the number nearest to the pointer; with the keyboard, arrows go from one to the next.
const tip = create("div", { id: "tip", hidden: true });
tip.setAttribute("role", "status");

function showTip(mark) {
  document.querySelector(".tip.on")?.classList.remove("on");
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("on");
  tip.textContent = mark.dataset.tip;
  const at = mark.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = at.left + at.width / 2 - size.width / 2;
  tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - size.width - 4))}px`;
  tip.style.top = `${at.top > size.height + 12 ? at.top - size.height - 8 : at.bottom + 8}px`;
}

function nearest(marks, x, y) {
  let best = null, least = 26;
  for (const mark of marks) {
    const at = mark.getBoundingClientRect();
    const distance = Math.hypot(at.left + at.width / 2 - x, at.top + at.height / 2 - y);
    if (distance < least) [best, least] = [mark, distance];
  }
  return best;
}

function makeTelling(frame) {
  const marks = [...frame.querySelectorAll(".tip")];
  let place = -1;
  marks.forEach((mark) => {
    const title = mark.querySelector("title");  // the browser's own tooltip would stand beside ours
    mark.dataset.tip = title.textContent;
    title.remove();
  });
  frame.addEventListener("pointermove", (event) => showTip(nearest(marks, event.clientX, event.clientY)));
  for (const end of ["pointerleave", "blur", "scroll"]) frame.addEventListener(end, () => showTip(null));
  frame.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") showTip(null);
    if (!step || !marks.length) return;
    event.preventDefault();
    place = (Math.max(place, step < 0 ? 0 : -1) + step + marks.length) % marks.length;
    showTip(marks[place]);
  });
}

// Contents: closed on a narrow screen, and the section in view is marked.
function makeContents(contents) {
  const narrow = window.matchMedia("(max-width: 74.99rem)");
  const fold = () => { contents.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  const links = [...contents.querySelectorAll("a[href^='#']")];
  links.forEach((link) => link.addEventListener("click", fold));
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const link = links.find((one) => one.hash === `#${target.id}`);
      if (isIntersecting) link?.setAttribute("aria-current", "true");
      else link?.removeAttribute("aria-current");
    }
  }, { rootMargin: "-30% 0px -60% 0px" });
  document.querySelectorAll("main section[id]").forEach((section) => watch.observe(section));
}

document.body.append(tip);
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".scroll.long").forEach(makeFilter);
document.querySelectorAll(".plot .scroll").forEach(makeTelling);
document.querySelectorAll("details.contents").forEach(makeContents);
window.addEventListener("scroll", () => showTip(null), { passive: true });
