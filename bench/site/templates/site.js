"use strict";
/* Sorts and filters boards, remembers light or dark, and puts two rows side by side. Nothing is asked of any server. */
(() => {
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a page from disk may not */ } };
  const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const all = (where, what) => [...where.querySelectorAll(what)];
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  const chosen = remembered("bench-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of all(document, "[data-theme-switch]")) button.addEventListener("click", switchTheme);
    for (const select of all(document, "[data-go]")) select.addEventListener("change", () => { location.href = select.value; });
    for (const table of all(document, "table[data-board]")) board(table);
    const form = document.querySelector("[data-compare-form]");
    if (form && window.BENCH) comparison(form);
  });

  function switchTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember("bench-theme", root.dataset.theme);
  }

  function board(table) {
    const groups = [...table.tBodies].filter((body) => !("published" in body.dataset));  // a method each, with its seeds
    const theirs = [...table.tBodies].filter((body) => "published" in body.dataset);  // these stay below
    const keyed = (body) => [...body.rows].filter((row) => row.dataset.key);
    const every = () => [...groups, ...theirs].flatMap(keyed);
    const heads = all(table, "thead th[data-column]");
    const places = new Map(heads.map((head, place) => [head.dataset.column, place + 1]));
    const filters = document.querySelector("[data-filters]");
    const control = (name) => filters.querySelector(`[data-${name}]`);
    const [text, findings, suite, origin, costs, shown, by] =
      ["filter-text", "filter-findings", "filter-suite", "filter-origin", "costs", "shown", "sort-by"].map(control);
    const highFirst = (head) => head.classList.contains("number") && head.dataset.column !== "rank";
    let sorted = { column: "rank", direction: "ascending" };
    heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
      const other = { ascending: "descending", descending: "ascending" };
      sort(head.dataset.column, other[head.getAttribute("aria-sort")]);
      note();
    }));
    by.addEventListener("change", () => { sort(by.value); note(); });

    function sort(column, wanted) {
      const head = heads.find((candidate) => candidate.dataset.column === column);
      if (!head) return;
      const number = head.classList.contains("number"), place = places.get(column);
      const direction = wanted || (highFirst(head) ? "descending" : "ascending");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const order = (row) => row.cells[place].dataset.order;
      const compared = (a, b) => {
        const [x, y] = [order(a), order(b)];
        if (x === "" || y === "") return (x === "") - (y === "");  // what is not known is last, either way
        return sign * (number ? x - y : x.localeCompare(y));
      };
      groups.sort((a, b) => compared(a.rows[0], b.rows[0]));
      table.append(...groups, ...theirs);
      for (const body of theirs) body.append(...keyed(body).sort(compared));
      sorted = { column, direction };
      by.value = column;
    }

    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("input", () => { filter(); note(); });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key === "/" && !typing) { event.preventDefault(); text.focus(); }
      if (event.key === "Escape" && event.target === text) { text.value = ""; filter(); note(); }
    });

    function filter() {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const body of [...groups, ...theirs]) {
        const published = "published" in body.dataset;
        const mean = body.querySelector("[data-mean]");
        const about = mean ? mean.cells[2].textContent.toLowerCase() : "";  // rows of seeds do not repeat it
        const wanted = !origin || !origin.value || (origin.value === "published") === published;
        let here = 0;
        for (const row of keyed(body)) {
          const said = about + row.textContent.toLowerCase();
          const found = row.dataset.findings !== "";
          const looked = !findings.value || (!published && (findings.value === "some") === found);  // nobody looked at theirs
          const kept = wanted && looked && words.every((word) => said.includes(word));
          row.hidden = !kept;
          here += kept;
        }
        for (const title of all(body, "[data-title], [data-mean]")) title.hidden = !here;
        count += here;
      }
      table.classList.toggle("costs", costs.checked);
      for (const head of heads.filter((head) => head.classList.contains("suite"))) {
        const hidden = Boolean(suite && suite.value && suite.value !== head.dataset.column);
        for (const cell of all(table, `[data-column="${CSS.escape(head.dataset.column)}"]`)) cell.hidden = hidden;
      }
      shown.textContent = `${count} of ${every().length} rows`;
    }

    const fields = { q: text, findings, suites: suite, rows: origin };
    function note() {  // the state of a board is in its address, so that a link shows the same
      const state = new URLSearchParams();
      for (const [name, field] of Object.entries(fields)) if (field && field.value) state.set(name, field.value);
      if (costs.checked) state.set("costs", "1");
      if (sorted.column !== "rank" || sorted.direction !== "ascending") state.set("sort", `${sorted.column}.${sorted.direction}`);
      history.replaceState(null, "", `#${state}`);
    }

    function recall() {
      if (!location.hash.includes("=")) return;
      const state = new URLSearchParams(location.hash.slice(1));
      for (const [name, field] of Object.entries(fields)) if (field) field.value = state.get(name) ?? "";
      costs.checked = state.has("costs");
      const [, column, direction] = /^(.+)\.(ascending|descending)$/.exec(state.get("sort") ?? "") ?? [];
      sort(column ?? "rank", direction);
    }
    addEventListener("hashchange", () => { recall(); filter(); });

    const picked = document.querySelector("[data-picked]");
    const link = picked.querySelector("[data-compare]");
    const boxes = () => all(table, "[data-pick]");
    let order = [];  // the two that were chosen last
    table.addEventListener("change", (event) => {
      if (!event.target.matches("[data-pick]")) return;
      order = order.filter((box) => box !== event.target);
      if (event.target.checked) order.push(event.target);
      while (order.length > 2) order.shift().checked = false;
      pick();
    });
    picked.querySelector("[data-unpick]").addEventListener("click", () => { order = []; boxes().forEach((box) => { box.checked = false; }); pick(); });

    function pick() {
      for (const box of boxes()) box.closest("tr").setAttribute("aria-selected", String(box.checked));
      picked.hidden = order.length === 0;
      const names = order.map((box) => box.getAttribute("aria-label").replace(/^Compare /, ""));
      picked.querySelector("[data-picked-names]").textContent = names.length === 1 ? `${names[0]}, and one more…` : names.join(" and ");
      link.setAttribute("aria-disabled", String(order.length !== 2));
      const keys = order.map((box) => encodeURIComponent(box.closest("tr").dataset.key));
      link.href = `../compare.html#${encodeURIComponent(table.dataset.board)}/${keys.join("/")}`;
    }
    recall();
    filter();
    pick();
  }

  function comparison(form) {
    const side = (name) => form.querySelector(`[data-side="${name}"]`);
    const [boards, a, b] = ["board", "a", "b"].map(side);
    const option = (select, value, text) => select.append(make("option", text, { value }));
    for (const [stem, held] of Object.entries(window.BENCH)) option(boards, stem, held.title);
    const wanted = location.hash.slice(1).split("/").map(decodeURIComponent);
    if (window.BENCH[wanted[0]]) boards.value = wanted[0];
    fill(wanted[1], wanted[2]);
    boards.addEventListener("change", () => fill());
    for (const select of [a, b]) select.addEventListener("change", show);

    function fill(first, second) {
      const held = window.BENCH[boards.value];
      if (!held) return;
      const keys = Object.keys(held.rows);
      for (const select of [a, b]) {
        select.replaceChildren();
        for (const key of keys) option(select, key, held.rows[key].name);
      }
      a.value = held.rows[first] ? first : keys[0];
      b.value = held.rows[second] ? second : keys[1] ?? keys[0];
      show();
    }

    function show() {
      const rows = window.BENCH[boards.value].rows;
      const [one, other] = [rows[a.value], rows[b.value]];
      history.replaceState(null, "", `#${[boards.value, a.value, b.value].map(encodeURIComponent).join("/")}`);
      document.querySelector("[data-comparison]").replaceChildren(...compared(one, other));
    }
  }

  function compared(one, other) {
    const parts = [];
    const theirs = [one, other].filter((row) => row.published);
    for (const row of theirs) parts.push(make("p", `${row.name}: figures of others, on weights of theirs (${row.published}). ` +
      "They were not measured by the same hand, so no difference is tested.", { class: "sentence" }));
    const suites = Object.keys(one.suites).filter((suite) => other.suites[suite]);
    const rows = [["clean", "", one.clean, other.clean]];
    for (const suite of suites) {
      const [x, y] = [one.suites[suite], other.suites[suite]];
      if (!theirs.length) parts.push(make("p", sentence(one.name, other.name, suite, x, y), { class: "sentence" }));
      rows.push([`${suite}, worst case`, "", x.worst, y.worst]);
      for (const column of x.columns) {
        const twin = y.columns.find((candidate) => candidate.name === column.name);
        if (twin) rows.push([column.name, column.knowledge, column.robust, twin.robust]);
      }
    }
    if (theirs.length) rows.push(["lowest that is known", "", one.lowest, other.lowest]);
    if (!suites.length && !theirs.length) parts.push(make("p", "No suite was run on both of them.", { class: "sentence" }));
    parts.push(table(["", "knowledge", `${one.name} %`, `${other.name} %`, "difference"], rows.map(([name, knowledge, x, y]) =>
      [name, knowledge, written(x), written(y), x && y && !theirs.length ? signed(100 * (x[0] / x[1] - y[0] / y[1])) : "–"])));
    const facts = Object.keys(one.facts).map((name) => [name, one.facts[name], other.facts[name]]);
    parts.push(make("h2", "Setting"), table(["", one.name, other.name], facts, false));
    return parts;
  }

  function sentence(name, otherName, suite, x, y) {
    if (!x.worst || !y.worst) return `Under ${suite} one of them has no worst case.`;
    if (!x.held || !y.held || x.held.ids !== y.held.ids) {
      const apart = x.worst[2] > y.worst[3] || y.worst[2] > x.worst[3];
      return `Under ${suite}, ${name} keeps ${percent(x.worst)} and ${otherName} ${percent(y.worst)}: their intervals ${apart ? "do not overlap" : "overlap"}; ` +
        "which examples each keeps is not in these records, so nothing can be tested in pairs.";
    }
    const [first, second] = [bits(x.held.robust, x.worst[1]), bits(y.held.robust, y.worst[1])];
    let won = 0, lost = 0;
    for (let i = 0; i < x.worst[1]; i++) { won += first[i] && !second[i]; lost += second[i] && !first[i]; }
    const p = mcnemar(won, lost);
    return `Under ${suite}, ${name} keeps ${won} of ${x.worst[1]} examples that ${otherName} loses, and loses ${lost} that it keeps: ` +
      `${signed(100 * (won - lost) / x.worst[1])} points, exact McNemar p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`}` +
      `${p < 0.05 ? "." : ": no significant difference."}`;
  }

  function bits(text, n) {  // four examples to a digit, the first in the highest bit
    const found = [];
    for (const digit of text) for (const weight of [8, 4, 2, 1]) found.push((parseInt(digit, 16) & weight) > 0);
    return found.slice(0, n);
  }

  function mcnemar(won, lost) {  // two-sided, exact: twice the lower tail of a fair coin
    const n = won + lost;
    let choose = 0, tail = 0;  // logarithm of the binomial coefficient
    for (let k = 0; k <= Math.min(won, lost); k++) {
      tail += Math.exp(choose - n * Math.LN2);
      choose += Math.log(n - k) - Math.log(k + 1);
    }
    return Math.min(1, 2 * tail);
  }

  const percent = (share) => `${(100 * share[0] / share[1]).toFixed(1)} % [${share[2].toFixed(1)}, ${share[3].toFixed(1)}]`;
  const written = (share) => typeof share === "number" ? share.toFixed(1) : share ? `${(100 * share[0] / share[1]).toFixed(1)} [${share[2].toFixed(1)}, ${share[3].toFixed(1)}]` : "–";
  const signed = (points) => `${points > 0.049 ? "+" : points < -0.049 ? "−" : ""}${Math.abs(points).toFixed(1)}`;

  function table(heads, rows, numbers = true) {
    const made = make("table"), head = make("tr"), body = make("tbody");
    heads.forEach((text, place) => head.append(make("th", text, { scope: "col", class: numbers && place > 1 ? "number" : "text" })));
    for (const cells of rows) {
      const row = make("tr", undefined, cells[0].endsWith(", worst case") ? { class: "worst" } : {});
      cells.forEach((text, place) => {
        const kind = numbers && place > 1 ? "number" : "text";
        const sign = place === 4 ? (text.startsWith("+") ? " plus" : text.startsWith("−") ? " minus" : "") : "";
        row.append(make(place ? "td" : "th", text, place ? { class: kind + sign } : { scope: "row" }));
      });
      body.append(row);
    }
    const top = make("thead");
    top.append(head);
    made.append(top, body);
    const scroll = make("div", undefined, { class: "scroll", tabindex: "0", role: "region", "aria-label": "Comparison" });
    scroll.append(made);
    return scroll;
  }
})();
