"use strict";
// Shows the comparison of two chosen runs; every number comes with the data, every text is written as text.
(() => {
  const FOLDER = "compare";
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("data").textContent);
  const [chooseA, chooseB] = ["run-a", "run-b"].map((id) => document.getElementById(id));
  if (!chooseA) return; // nothing to compare
  const [waiting, failed, result] = ["waiting", "failed", "result"].map((id) => document.getElementById(id));

  // Elements

  const make = (tag, given = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), given);
    element.append(...children);
    return element;
  };
  const t = (zh, en) => [make("span", { className: "zh", lang: "zh-CN" }, zh), make("span", { className: "en", lang: "en" }, en)];
  const shape = (tag, given) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, String(value));
    return element;
  };
  const number = (value) => (value === null ? "—" : value.toFixed(2).replace("-", "−"));
  const signed = (value, digits) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  const chance = (value) => (value === null ? "—" : value < 0.0002 ? "< 0.0002" : value.toFixed(4));
  const plain = (value) => String(Number(value.toFixed(2)));

  // The one place that knows where a pair stands on a run's page
  const pairLink = (link, itemId) => {
    const query = document.documentElement.dataset.lang === "en" ? "?lang=en" : "";
    return `${link}${query}#${encodeURIComponent(itemId)}`;
  };

  // Data: the earlier run of a table holds the comparisons with the later ones

  const loads = new Map();
  const answers = new Map();
  window.scsafetyReceive = (name, held) => answers.get(name)(held);
  const load = (name) => {
    if (data.held) return Promise.resolve(data.held[name]);
    if (!loads.has(name)) {
      const loading = new Promise((done, fail) => {
        answers.set(name, done);
        const script = make("script", { src: `${FOLDER}/${name}.js` });
        script.addEventListener("error", fail);
        document.head.append(script);
      });
      loading.catch(() => loads.delete(name)); // another try may find it
      loads.set(name, loading);
    }
    return loads.get(name);
  };
  const minus = (value) => (value === null ? null : 0 - value);
  const between = async (a, b) => {
    const held = (await load(String(Math.min(a, b))))[String(Math.max(a, b))];
    const { value, low, high, p, p_holm: holm, n } = held;
    const better = (of, count, turn) => ({ count, list: of.map(([id, row, one, two]) => (turn ? [id, row, two, one] : [id, row, one, two])) });
    if (a < b) {
      return { value, low, high, p, holm, n, forA: better(held.first, held.n_first), forB: better(held.second, held.n_second) };
    }
    return {
      value: value.map(minus), low: high.map(minus), high: low.map(minus), p, holm, n,
      forA: better(held.second, held.n_second, true), forB: better(held.first, held.n_first, true),
    };
  };

  // Page

  const clear = (found, k) => {
    const sure = k === 0
      ? found.low[k] !== null && (found.low[k] > 0 || found.high[k] < 0)
      : found.holm[k] !== null && found.holm[k] < data.alpha;
    return !sure || found.value[k] === 0 ? "" : found.value[k] > 0 ? "B" : "A";
  };
  const forest = (found, k, most) => {
    const at = (value) => 50 + (50 * value) / most;
    const svg = shape("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" });
    if (found.low[k] !== null) {
      svg.append(shape("rect", { class: "span", x: at(found.low[k]), y: 4, width: at(found.high[k]) - at(found.low[k]), height: 6 }));
    }
    svg.append(shape("line", { class: "zero", x1: 50, x2: 50, y1: 0, y2: 14 }));
    svg.append(shape("rect", { class: "at", x: at(found.value[k]) - 0.5, y: 2, width: 1, height: 10 }));
    return svg;
  };
  const mark = (side) => (side ? make("span", { className: `for-${side.toLowerCase()}` }, side) : make("span", { className: "dim" }, ...t("分不清", "cannot tell")));

  const rows = (a, b, found) => {
    const bounds = [...found.low, ...found.high, ...found.value].filter((value) => value !== null);
    const most = Math.max(1, ...bounds.map(Math.abs));
    const lines = [];
    let k = 0;
    for (const [zh, en, size] of data.groups) {
      if (size > 1) lines.push(make("tr", { className: "group" }, make("th", { colSpan: 9, scope: "rowgroup" }, ...t(zh, en))));
      for (const end = k + size; k < end; k += 1) {
        if (found.value[k] === null) continue; // no pair of it was asked
        const [id, nameZh, nameEn] = data.rows[k];
        const interval = found.low[k] === null ? t("题对过少", "too few pairs") : [`${signed(found.low[k], 1)} ~ ${signed(found.high[k], 1)}`];
        const cells = [
          [make("strong", {}, signed(found.value[k], 2)), make("small", {}, ...interval)], mark(clear(found, k)), forest(found, k, most),
          number(data.runs[a].scores[k]), number(data.runs[b].scores[k]),
          chance(found.p[k]), k === 0 ? "—" : chance(found.holm[k]), String(found.n[k]),
        ];
        const line = make("tr", {}, make("th", { scope: "row" }, ...t(nameZh, nameEn)));
        line.dataset.row = id;
        cells.forEach((cell, c) => {
          line.append(make("td", { className: ["num", "", "forest"][c] ?? "num" }, ...[cell].flat()));
        });
        lines.push(line);
      }
    }
    return lines;
  };

  const list = (side, of, a, b) => {
    const line = ([id, row, one, two]) => {
      const links = [[a, "A", one], [b, "B", two]].map(([run, name, score]) =>
        make("td", { className: "num" }, make("a", { href: pairLink(data.runs[run].link, id) }, `${name} ${plain(score)}`)),
      );
      return make("tr", {}, make("th", { scope: "row", className: "mono" }, id), make("td", {}, ...t(data.rows[row][1], data.rows[row][2])), ...links);
    };
    const title = make("h3", {}, ...t(`${side} 更好（共 ${of.count} 对）`, `${side} better (${of.count} pairs in all)`));
    if (!of.list.length) return make("div", {}, title, make("p", { className: "dim" }, ...t("没有", "None")));
    return make("div", {}, title, make("table", { className: "pair-list" }, make("tbody", {}, ...of.list.map(line))));
  };

  const brief = (a, b, found) => {
    const side = (name, run) => make(
      "div", { className: "side" }, `${name} · `, make("a", { href: run.link }, run.target), make("small", { className: "mono" }, run.run),
      make("strong", {}, number(run.scores[0])),
    );
    const better = { A: [], B: [] };
    data.rows.forEach((_, k) => {
      const sure = k > 0 && clear(found, k);
      if (sure) better[sure].push(k);
    });
    const total = clear(found, 0);
    const say = (name) => {
      const [zh, en] = [1, 2].map((c) => better[name].map((k) => data.rows[k][c]));
      return make("li", {}, ...t(`${name} 明显更好：${zh.join("、") || "无一项"}`, `${name} clearly better in: ${en.join(", ") || "nothing"}`));
    };
    const verdict = total
      ? t(`总分：${total} 明显更高。`, `Total: ${total} is clearly higher.`)
      : t("总分：分不清高下。", "Total: they cannot be told apart.");
    return [
      make("div", { className: "sides" }, side("A", data.runs[a]), side("B", data.runs[b])),
      make("ul", { className: "brief" }, make("li", {}, ...verdict), say("A"), say("B")),
    ];
  };

  // Choice

  const addressed = (a, b) => {
    const query = new URLSearchParams(location.search);
    query.set("a", data.runs[a].page);
    query.set("b", data.runs[b].page);
    return `?${query}`;
  };
  let asked = 0;
  const show = async () => {
    const [a, b] = [Number(chooseA.value), Number(chooseB.value)];
    const own = (asked += 1);
    document.getElementById("permalink").setAttribute("href", `compare.html${addressed(a, b)}`);
    try {
      history.replaceState(history.state, "", addressed(a, b));
    } catch {
      // an address that may not change: the link beside the choice has it
    }
    failed.hidden = true;
    waiting.hidden = false;
    try {
      const found = await between(a, b);
      if (own !== asked) return; // another choice was made meanwhile
      document.getElementById("brief").replaceChildren(...brief(a, b, found));
      document.getElementById("rows").replaceChildren(...rows(a, b, found));
      document.getElementById("pairs").replaceChildren(list("A", found.forA, a, b), list("B", found.forB, a, b));
      result.hidden = false;
    } catch {
      if (own !== asked) return;
      result.hidden = true;
      failed.hidden = false;
    }
    waiting.hidden = true;
  };

  const mates = (a) => data.runs.flatMap((run, k) => (k !== a && run.table === data.runs[a].table ? [k] : []));
  const option = (k) => make("option", { value: String(k) }, `${data.runs[k].target} · ${data.runs[k].run}`);
  const offer = (wanted) => {
    const others = mates(Number(chooseA.value));
    chooseB.replaceChildren(...others.map(option));
    chooseB.value = String(others.includes(wanted) ? wanted : others[0]);
  };
  for (let n = 1; n <= data.n_tables; n += 1) {
    const able = data.runs.flatMap((run, k) => (run.table === n && mates(k).length ? [k] : []));
    if (!able.length) continue;
    const label = { zh: `表 ${n}`, en: `Table ${n}` };
    const group = make("optgroup", { label: label[document.documentElement.dataset.lang] || label.zh }, ...able.map(option));
    Object.assign(group.dataset, label);
    if (data.n_tables > 1) chooseA.append(group);
    else chooseA.append(...group.children);
  }
  const given = new URLSearchParams(location.search);
  const [a, b] = ["a", "b"].map((name) => data.runs.findIndex((run) => run.page === given.get(name)));
  if (a >= 0 && mates(a).length) chooseA.value = String(a);
  offer(b);
  chooseA.addEventListener("change", () => { offer(Number(chooseB.value)); show(); });
  chooseB.addEventListener("change", show);
  document.getElementById("swap").addEventListener("click", () => {
    const [one, two] = [chooseA.value, chooseB.value];
    chooseA.value = two;
    offer(Number(one));
    show();
  });
  show();
})();
