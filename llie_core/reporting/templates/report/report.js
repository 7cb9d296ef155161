// Filters of tables, images at one place, enlarged images, links from rows to their runs. Sorting
// is done by vendor/sortable.auto.min.js, the slider by vendor/img-comparison-slider.js.
"use strict";

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// One bar over a table, or over those that are folded behind lines; a line without a row that is
// wanted is hidden, and any other opens while something is chosen.
function filterable(tables, place) {
  const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
  const titles = JSON.parse(tables[0].dataset.filters ?? "[]");
  if (rows.length < 12 && !titles.length) return;
  const words = element("input", { type: "search" });
  const choices = new Map(rows.map((row) => [row, JSON.parse(row.dataset.choices ?? "[]")]));
  const selects = titles.map((title, i) => {
    const own = [...new Set(rows.map((row) => choices.get(row)[i]))].sort();
    return element("select", {}, ...["all", ...own].map((text) => element("option", { value: text, textContent: text })));
  });
  const count = element("span", { role: "status" });
  const apply = () => {
    const wanted = words.value.toLowerCase();
    const active = wanted !== "" || selects.some((select) => select.value !== "all");
    for (const row of rows) {
      const found = row.textContent.toLowerCase().includes(wanted) &&
        selects.every((select, i) => ["all", choices.get(row)[i]].includes(select.value));
      row.hidden = !found;
    }
    for (const line of place.querySelectorAll("details.folded")) {
      line.hidden = !line.querySelector("tbody tr:not([hidden])");
      line.open = active;
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  const labels = selects.map((select, i) => element("label", {}, titles[i], select));
  const bar = element("div", { className: "filters" }, element("label", {}, "contains", words), ...labels, count);
  bar.addEventListener("input", apply);
  apply();
  place.before(bar);
}

// A table wider than the page is set tighter, then breaks words, then scrolls.
function fitted(region) {
  const wide = () => region.firstElementChild.scrollWidth > region.clientWidth + 1;
  const steps = ["tight", "broken", "wide"];
  region.classList.remove(...steps);
  for (const step of steps) region.classList.toggle(step, wide());
}

function comparable(block) {
  const figures = [...block.querySelectorAll(".grid figure")];
  if (figures.length < 2) return;
  const main = Math.max(1, figures.findIndex((figure) => figure.querySelector("[data-main]")));
  const sides = [0, main].map((start, side) => {
    const options = figures.map((figure, i) => element("option", { value: i, textContent: figure.querySelector("figcaption").textContent }));
    const select = element("select", {}, ...options);
    select.value = start;
    return { select, label: element("label", {}, ["left", "right"][side], select) };
  });
  const show = () => {
    const images = sides.map(({ select }, side) => {
      const image = figures[select.value].querySelector("img").cloneNode();
      image.classList.remove("zoom");
      image.slot = ["first", "second"][side];
      return image;
    });
    slider.replaceChildren(...images);
  };
  const slider = element("img-comparison-slider", { tabIndex: 0, ariaLabel: "Images of one scene: move the line with the arrow keys" });
  show();
  const bar = element("div", { className: "filters" }, ...sides.map((side) => side.label));
  bar.addEventListener("change", show);
  block.append(bar, slider);
  block.classList.add("ready");
}

function enlargeable(images) {
  const shown = element("img", { className: "fit", alt: "" });
  const dialog = element("dialog", { ariaLabel: "Enlarged image" },
    element("form", { method: "dialog" }, element("button", { textContent: "Close" })), shown);
  document.body.append(dialog);
  shown.addEventListener("click", () => dialog.close());
  for (const image of images) {
    const open = () => {
      Object.assign(shown, { src: image.src, alt: image.alt });
      dialog.showModal();
    };
    image.classList.add("zoom");
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.addEventListener("click", open);
    image.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
    });
  }
}

function linked(table) {
  for (const row of table.tBodies[0].rows) {
    const cell = row.cells[0];
    const run = document.getElementById(`run-${cell.textContent.trim()}`);
    if (run && !run.contains(cell)) {
      const link = element("a", { href: `#${encodeURIComponent(run.id)}`, textContent: cell.textContent });
      link.addEventListener("click", () => { run.open = true; });
      cell.replaceChildren(link);
    }
  }
}

function cards(list) {
  const all = [...list.children];
  const selects = ["paper", "dataset", "profile", "state"].map((name) => {
    const values = ["all", ...new Set(all.map((card) => card.dataset[name]))];
    const options = values.map((text) => element("option", { value: text, textContent: text }));
    return element("label", {}, name, element("select", { name }, ...options));
  });
  const bar = element("div", { className: "filters" }, ...selects);
  bar.addEventListener("change", () => {
    for (const card of all) {
      card.hidden = [...bar.querySelectorAll("select")].some((s) => s.value !== "all" && card.dataset[s.name] !== s.value);
    }
  });
  list.before(bar);
}

document.querySelectorAll(".groups").forEach((group) => filterable([...group.querySelectorAll("table")], group));
document.querySelectorAll(".table table").forEach((table) => {
  if (!table.closest(".groups")) filterable([table], table.closest(".table"));
  linked(table);
});
const regions = [...document.querySelectorAll(".table")];
regions.forEach(fitted);
addEventListener("resize", () => regions.forEach(fitted));
// A folded table has no width before its line opens.
addEventListener("toggle", ({ target }) => target.querySelectorAll?.(".table").forEach(fitted), true);
// A line that scrolls must be reached by the keyboard.
for (const { parentElement: line } of document.querySelectorAll("img.equation")) {
  if (line.scrollWidth > line.clientWidth) line.tabIndex = 0;
}
document.querySelectorAll(".compare").forEach(comparable);
document.querySelectorAll(".cards").forEach(cards);
enlargeable(document.querySelectorAll("main img:not(.card img, .equation)"));
const folded = [];
addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  folded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => folded.splice(0).forEach((one) => { one.open = false; }));
