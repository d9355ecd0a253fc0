// Opens every page at every width in a frame, measures it, uses it, and leaves what it found as JSON in #result.
const quiet = () => new Promise((done) => setTimeout(done, 50));

function openAt(page, width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  document.body.append(frame);
  frame.getBoundingClientRect();  // laid out before the page's script asks for its width
  const loaded = new Promise((done) => frame.addEventListener("load", () => done(frame)));
  frame.src = page;
  return loaded;
}

function measure(view) {
  const root = view.document.documentElement;
  const inside = (element) => element.closest(".scroll, pre, .skip, nav, select");
  const outside = [...view.document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.right > root.clientWidth + 1 && !inside(element);
  });
  const figures = [...view.document.querySelectorAll("figure.plot")].map((figure) => {
    const box = figure.querySelector("svg").getBoundingClientRect();
    return [figure.id, box.width, box.height];
  });
  return {
    width: view.innerWidth,
    overflow: Math.max(root.scrollWidth, view.document.body.scrollWidth) - root.clientWidth,
    outside: outside.map((element) => element.outerHTML.slice(0, 80)),
    figures,
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name),
    words: view.document.body.innerText.length,
  };
}

function column(table, place) {
  return [...table.tBodies[0].rows].map((row) => row.cells[place].dataset.value ?? row.cells[place].innerText.trim());
}

function sortEach(view) {
  return [...view.document.querySelectorAll("table.sortable")].map((table) => {
    const place = [...table.tBodies[0].rows[0].cells].findIndex((cell) => "value" in cell.dataset);
    const head = table.tHead.rows[0].cells[Math.max(place, 0)], seen = [[null, column(table, Math.max(place, 0))]];
    for (let clicks = 0; clicks < 3; clicks += 1) {
      head.querySelector("button").click();
      seen.push([head.getAttribute("aria-sort"), column(table, Math.max(place, 0))]);
    }
    return { table: table.closest("figure").id, numeric: place >= 0, seen };
  });
}

function pointAt(view) {
  const told = [];
  for (const frame of view.document.querySelectorAll(".plot .scroll")) {
    frame.dispatchEvent(new view.KeyboardEvent("keydown", { key: "ArrowRight" }));
    const byKey = view.document.getElementById("tip").textContent;
    const mark = frame.querySelector(".tip");
    mark.scrollIntoView();
    const box = mark.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2 + 3, clientY: box.top + box.height / 2 - 3 };
    frame.dispatchEvent(new view.PointerEvent("pointermove", at));
    told.push([byKey, view.document.getElementById("tip").textContent, frame.closest("figure").id]);
    frame.dispatchEvent(new view.PointerEvent("pointerleave"));
  }
  return { told, hidden: view.document.getElementById("tip").hidden };
}

function filterLong(view) {
  const box = view.document.querySelector(".filter input");
  if (!box) return null;
  const rows = [...box.closest("figure").querySelectorAll("tbody tr")];
  box.value = rows[0].cells[1].innerText.trim();
  box.dispatchEvent(new view.Event("input"));
  const word = box.value.toLowerCase();
  const shown = rows.filter((row) => !row.hidden);
  return { rows: rows.length, shown: shown.length, right: shown.every((row) => row.innerText.toLowerCase().includes(word)) };
}

function explore(view) {
  const find = (id) => view.document.getElementById(id);
  const list = find("person");
  if (!list) return null;
  list.selectedIndex = 2;
  list.dispatchEvent(new view.Event("change"));
  const label = list.selectedOptions[0].text;
  const career = find("career");
  career.children[0].firstChild.click();
  const first = { happened: find("happened").innerText, career: career.innerText, guesses: find("guesses").innerText };
  find("search").value = "nothing has this word";
  find("search").dispatchEvent(new view.Event("input"));
  const none = list.options.length;
  find("search").value = label.split(":")[0];
  find("search").dispatchEvent(new view.Event("input"));
  return { people: Number(list.options.length), none, label, ...first };
}

async function main() {
  const found = [];
  for (const page of pages) {
    for (const width of widths) {
      const frame = await openAt(page, width);
      await quiet();
      const view = frame.contentWindow;
      const first = measure(view);
      const used = { sorted: sortEach(view), tips: pointAt(view), filter: filterLong(view), workers: explore(view) };
      const contents = view.document.querySelector("details.contents");
      found.push({ page, asked: width, ...first, ...used, after: measure(view).overflow, open: contents?.open ?? null });
      frame.remove();
    }
  }
  document.getElementById("result").textContent = JSON.stringify(found);
}

main().catch((error) => { document.getElementById("result").textContent = JSON.stringify(String(error)); });
