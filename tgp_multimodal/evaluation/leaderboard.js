"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;

  // Light and dark: the system's choice until the reader makes one.
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  };
  setTheme(stored || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  document.getElementById("theme").onclick = () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a file opened without storage */ }
  };

  // Tabs follow the address, so a link to a card opens the tab that it is in.
  const panels = all("section.panel"), tabs = all("nav a");
  const open = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    const panel = (target && target.closest("section.panel")) || panels[0];
    panels.forEach((p) => { p.hidden = p !== panel; });
    tabs.forEach((tab) => {
      const selected = tab.getAttribute("href") === "#" + panel.id;
      tab.setAttribute("aria-selected", String(selected));
      if (selected) tab.parentNode.scrollLeft = tab.offsetLeft - 60;
    });
    if (target && target !== panel) target.scrollIntoView({ block: "start" });
    else if (id) scrollTo(0, 0);
  };
  addEventListener("hashchange", open);
  open();

  // Filters: models by chip, cards by name, cards to those that every shown model has; means follow.
  const search = document.getElementById("search"), shared = document.getElementById("shared");
  const chips = all(".chip");
  const number = (text) => (text === "" || text === undefined ? null : Number(text));
  const filterTable = (table, models, words) => {
    const rows = all("tbody tr", table);
    rows.forEach((row) => { row.hidden = !models.has(row.dataset.model); });
    const shown = rows.filter((row) => !row.hidden);
    const heads = all("thead th[data-card]", table);
    heads.forEach((head) => {
      const cells = shown.map((row) => row.cells[head.cellIndex]);
      const complete = cells.every((cell) => cell.dataset.order !== "");
      head.hidden = !matches(head.dataset.card, words) || (shared.checked && !complete);
      rows.forEach((row) => { row.cells[head.cellIndex].hidden = head.hidden; });
    });
    const counted = heads.filter((head) => !head.hidden && head.dataset.counts === "1");
    rows.forEach((row) => {
      const scores = counted.map((head) => number(row.cells[head.cellIndex].dataset.score)).filter((s) => s !== null);
      const cell = row.querySelector("td.mean"), mean = scores.reduce((a, b) => a + b, 0) / scores.length;
      const partial = scores.length < counted.length;
      cell.classList.toggle("partial", partial);
      cell.dataset.order = scores.length ? mean : "";
      cell.querySelector(".value").textContent = scores.length ? mean.toFixed(3) : "–";
      cell.querySelector(".part").textContent = partial ? ` ${scores.length}/${counted.length}` : "";
    });
  };
  const matches = (name, words) => words.every((word) => name.toLowerCase().includes(word));
  const filter = () => {
    const models = new Set(chips.filter((c) => c.getAttribute("aria-pressed") === "true").map((c) => c.dataset.model));
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    all("table.domain").forEach((table) => filterTable(table, models, words));
    all("article[data-card]").forEach((card) => { card.hidden = !matches(card.dataset.card, words); });
    all("[data-model]:not(.chip):not(table.domain tr)").forEach((e) => {
      if (e instanceof SVGElement) e.style.display = models.has(e.dataset.model) ? "" : "none";
      else e.hidden = !models.has(e.dataset.model);
    });
  };
  chips.forEach((chip) => {
    chip.onclick = () => { chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true")); filter(); };
  });
  search.oninput = shared.onchange = filter;

  // Sorting: a click on a head sorts its table, best first; what has no number stays last.
  all("th[data-sort]").forEach((head) => {
    const sort = () => {
      const body = head.closest("table").tBodies[0];
      const isText = head.dataset.sort === "text", up = head.getAttribute("aria-sort") === (isText ? "ascending" : "descending");
      all("th", head.parentNode).forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isText !== up ? "ascending" : "descending");
      const sign = head.getAttribute("aria-sort") === "ascending" ? 1 : -1;
      const key = (row) => (isText ? row.dataset.model : number(row.cells[head.cellIndex].dataset.order));
      [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (isText ? x.localeCompare(y) : x - y);
      }).forEach((row) => body.append(row));
    };
    head.tabIndex = 0;
    head.onclick = (event) => { if (!event.target.closest("a")) sort(); };
    head.onkeydown = (event) => { if (event.key === "Enter" && event.target === head) sort(); };
  });

  // Sample records: kept as data, turned into text only when someone opens them.
  const records = JSON.parse(document.getElementById("records").textContent);
  const element = (tag, text, css) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (css) node.className = css;
    return node;
  };
  const showRecords = (details) => {
    const samples = records[details.dataset.records][details.querySelector("select").value];
    const pair = element("div", undefined, "pair");
    ["first", "second"].forEach((side, index) => {
      if (!samples[side].length) return;
      const word = samples.words[index], css = index ? "wrong" : "right", part = element("div");
      part.append(element("h4", word[0].toUpperCase() + word.slice(1), css));
      samples[side].forEach((record) => {
        const list = element("dl", undefined, "record " + css);
        Object.entries(record).forEach(([name, value]) => list.append(element("dt", name), element("dd", String(value))));
        part.append(list);
      });
      pair.append(part);
    });
    details.querySelector(".records").replaceChildren(pair);
  };
  all("details[data-records]").forEach((details) => {
    details.ontoggle = () => { if (details.open) showRecords(details); };
    details.ontoggle();
    details.querySelector("select").onchange = () => showRecords(details);
  });

  // Which cost the scatter plots show.
  all("select.cost").forEach((choice) => {
    const update = () => all("[data-cost]", choice.closest(".card")).forEach((e) => { e.hidden = e.dataset.cost !== choice.value; });
    choice.onchange = update;
    update();
  });
  root.dataset.ready = "1";
})();
