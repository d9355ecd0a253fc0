// The worker explorer: a person from the list, a year of the career, what each model said of it.
const data = JSON.parse(document.getElementById("workers").textContent);
const list = document.getElementById("person"), search = document.getElementById("search");
const career = document.getElementById("career"), guesses = document.getElementById("guesses");
const people = data.people.map((person, place) => {
  const moves = person.rows.filter((row) => row[3] === "move").length;
  const years = `${person.rows.length} ${person.rows.length === 1 ? "year" : "years"}, ${moves} ${moves === 1 ? "move" : "moves"}`;
  const label = `Worker ${place + 1}: ${person.about} (${years})`;
  const words = [label, ...person.rows.map((row) => data.titles[row[2]])].join(" ").toLowerCase();
  return { ...person, label, words, place };
});

function percent(share) {
  const value = 100 * share;
  return value === 0 ? "0%" : value < 0.1 ? `${value.toPrecision(1)}%` : `${value.toFixed(1)}%`;
}

function listPeople() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = people.filter((person) => words.every((word) => person.words.includes(word)));
  const kept = list.value;
  list.replaceChildren(...found.map((person) => create("option", { value: person.place }, person.label)));
  document.getElementById("found").textContent = `${found.length} of ${people.length} workers`;
  if (!found.length) return;
  if (found.some((person) => String(person.place) === kept)) list.value = kept;
  else showPerson();
}

// The year at which a career is opened: its first move after some history, or its last year.
function opening(person) {
  const move = person.rows.findIndex((row, place) => place > 2 && row[3] === "move");
  return move < 0 ? person.rows.length - 1 : move;
}

function showPerson(year) {
  const person = people[Number(list.value)];
  showYear(person, year ?? opening(person));
}

function showYear(person, chosen) {
  const focused = career.contains(document.activeElement);
  career.replaceChildren(...person.rows.map(([year, education, place, transition], row) => {
    const words = [year, education, data.titles[place], transition === "stay" ? "" : transition === "first" ? "first year" : "move"];
    const button = create("button", { type: "button" }, ...words.map((word) => create("span", {}, String(word))));
    if (row === chosen) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => showYear(person, row));
    return create("li", { className: row === chosen ? "next" : row > chosen ? "later" : "" }, button);
  }));
  if (focused) career.children[chosen].firstChild.focus();
  const [year, , realised, transition] = person.rows[chosen];
  const what = { first: "the first year on record", stay: "a stay", move: "a move" }[transition];
  document.getElementById("happened").textContent = `${year}, ${what}: ${data.titles[realised]}`;
  guesses.replaceChildren(...data.models.map((model, m) => showModel(model, person.said[m][chosen], realised)));
}

function showModel(model, [probability, rank, ...tops], realised) {
  const rows = [];
  for (let n = 0; n < tops.length; n += 2) {
    const bar = create("i", {});
    bar.style.width = `${100 * tops[n + 1]}%`;
    rows.push(create("li", { className: tops[n] === realised ? "hit" : "" },
      create("span", {}, data.titles[tops[n]]), create("span", {}, percent(tops[n + 1])),
      create("span", { className: "bar" }, bar)));
  }
  return create("div", {}, create("h3", {}, model), create("ol", {}, ...rows),
    create("p", {}, `What happened: ${percent(probability)}, place ${rank}`));
}

function step(by) {
  const place = list.selectedIndex + by;
  if (place < 0 || place >= list.options.length) return;
  list.selectedIndex = place;
  showPerson();
}

search.addEventListener("input", listPeople);
list.addEventListener("change", () => showPerson());
document.getElementById("back").addEventListener("click", () => step(-1));
document.getElementById("forth").addEventListener("click", () => step(1));
document.getElementById("explorer").hidden = false;
listPeople();
