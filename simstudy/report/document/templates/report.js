"use strict";
// Sorting: a click on a heading sorts the body by that column; numbers by value, text by name, empty cells last.
function sortable(table) {
  table.querySelectorAll("thead tr:last-child th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const key = (row) => {
        const cell = row.cells[column];
        const text = (cell.dataset.value ?? cell.textContent).trim();
        return [text === "" || text === "n/a" || text === "-" ? 2 : isNaN(parseFloat(text)) ? 1 : 0, text];
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([[a, x]], [[b, y]]) => {
        if (a !== b) return a - b;
        const order = a === 0 ? parseFloat(x) - parseFloat(y) : x.localeCompare(y);
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
document.querySelectorAll("table.sortable").forEach(sortable);

// The cell selector: one table of every measure for the condition, parameter and basis chosen.
(function () {
  const source = document.getElementById("numbers");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const place = document.getElementById("cell-table");
  const cells = Object.keys(data.cells);
  const picks = new Map();

  function control(id, text, values, labels) {
    const label = document.createElement("label");
    label.htmlFor = id;
    label.append(text);
    const select = document.createElement("select");
    select.id = id;
    values.forEach((value, k) => select.add(new Option(labels ? labels[k] : value, value)));
    label.append(select);
    document.getElementById("selector").append(label);
    select.addEventListener("change", () => show(id));
    picks.set(id, select);
    return select;
  }

  const names = JSON.parse(document.getElementById("factor-names").textContent);
  const factorSelects = data.factors.map((_, f) =>
    control("factor-" + f, names[f], [...new Set(cells.map((cell) => data.cells[cell][f]))]));
  const cellSelect = control("pick-cell", "Cell", cells, cells.map((cell) => "Cell " + cell));
  const parameterSelect = control("pick-parameter", "Parameter", data.parameters.map((_, k) => k), data.parameters);
  const basisSelect = control("pick-basis", "Replicates",
    data.bases.map((_, k) => k), data.bases.map(([, words]) => words));
  const widthSelect = control("pick-measures", "Measures", ["main", "all"], ["main", "all"]);
  const decimals = (value) => {
    if (value === null) return "";
    if (Math.abs(value) >= 1e4) return value.toPrecision(3);
    const text = value.toFixed(4);
    return Number(text) === 0 ? text.replace("-", "") : text;
  };

  function cell(tag, text, attributes) {
    const element = document.createElement(tag);
    element.textContent = text;
    Object.entries(attributes || {}).forEach(([name, value]) => element.setAttribute(name, value));
    return element;
  }

  function show(changed) {
    if (changed && changed.startsWith("factor-")) {
      const wanted = factorSelects.map((select) => select.value);
      const match = (number) => data.cells[number].filter((level, f) => level === wanted[f]).length;
      const fixed = Number(changed.slice(7));
      const able = cells.filter((number) => data.cells[number][fixed] === wanted[fixed]);
      cellSelect.value = able.reduce((best, number) => (match(number) > match(best) ? number : best), able[0]);
    }
    const number = cellSelect.value;
    factorSelects.forEach((select, f) => { select.value = data.cells[number][f]; });
    const parameter = Number(parameterSelect.value);
    const rows = data.rows.filter((row) =>
      row[0] === Number(number) && row[1] === Number(basisSelect.value) && row[2] === parameter);
    const used = data.measures.map((_, k) => k).filter((k) =>
      (widthSelect.value === "all" || Number(basisSelect.value) > 1 || data.main.includes(data.measures[k][0])) &&
      rows.some((row) => row[7][k] !== null));
    const table = document.createElement("table");
    const truth = data.truth[number + " " + parameter];
    const settings = data.factors.map((_, f) => names[f] + " = " + data.cells[number][f]).join(", ");
    const said = truth === null || truth === undefined ? "no true value" : "true value " + truth;
    table.append(cell("caption",
      "Cell " + number + (settings ? ": " + settings : "") + ". " + data.parameters[parameter] + ", " + said +
      ". Monte Carlo standard errors in parentheses."));
    const head = document.createElement("tr");
    head.append(cell("th", "Method", { scope: "col" }), cell("th", "SE", { scope: "col", class: "left" }));
    used.forEach((k) => head.append(cell("th", data.measures[k][1], { scope: "col" })));
    head.append(cell("th", "n", { scope: "col" }));
    const thead = document.createElement("thead");
    thead.append(head);
    const body = document.createElement("tbody");
    let before = -1;
    rows.forEach((row) => {
      const line = document.createElement("tr");
      if (row[3] !== before) line.className = "first";
      before = row[3];
      line.append(cell("th", data.estimators[row[3]], { scope: "row" }));
      line.append(cell("td", row[4] < 0 ? "" : data.kinds[row[4]], { class: "left" }));
      used.forEach((k) => {
        const pair = row[7][k];
        const none = row[5] === 0 ? "n/a" : "-";
        const text = pair === null ? none : decimals(pair[0]) + (pair[1] === null ? "" : " (" + decimals(pair[1]) + ")");
        line.append(cell("td", text, pair === null ? {} : { "data-value": pair[0] }));
      });
      line.append(cell("td", row[5] === row[6] ? String(row[5]) : row[5] + "/" + row[6]));
      body.append(line);
    });
    table.append(thead, body);
    place.replaceChildren(table);
    sortable(table);
    document.querySelectorAll("[data-moments]").forEach((element) => {
      element.hidden = element.dataset.moments !== number;
    });
  }

  const first = document.getElementById("selector").dataset.cell;
  if (cells.includes(first)) cellSelect.value = first;
  show();
})();
