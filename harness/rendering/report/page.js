"use strict";
(() => {
  const PAGE = 60;
  const KINDS = [
    ["all", "All", true], ["won", "Won"], ["lost", "Lost"], ["right", "Both right"], ["wrong", "Both wrong"],
    ["cut", "Cut", true], ["unread", "Unread", true],
  ];
  const by = (id) => document.getElementById(id);
  const data = JSON.parse(by("data").textContent);
  const { ids, golds, questions, prompts, start, solutions } = data.items;
  const total = ids.length;
  const bits = data.rows.map((row) => Object.fromEntries(Object.entries(row.bits).map(([kind, hex]) => [kind, unhex(hex)])));
  const texts = new Map();
  const state = { row: 0, against: -1, only: "all", search: "", item: -1, page: 0 };
  let shown = [];
  let turn = 0;

  function unhex(hex) {
    return Uint8Array.from({ length: total }, (_, place) => (parseInt(hex[place >> 2], 16) >> (3 - (place & 3))) & 1);
  }

  function make(tag, words, className) {
    const element = document.createElement(tag);
    if (words !== undefined) element.textContent = words;
    if (className) element.className = className;
    return element;
  }

  // The answers of a row are unpacked when they are first wanted; null where this browser cannot.
  function answers(row) {
    if (row < 0) return Promise.resolve(null);
    if (!texts.has(row)) texts.set(row, unpack(by(`packed-${row}`).textContent).catch(() => null));
    return texts.get(row);
  }

  async function unpack(packed) {
    if (typeof DecompressionStream === "undefined") return null;
    const raw = Uint8Array.from(atob(packed), (one) => one.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    const lines = (await new Response(stream).text()).split("\n").filter((line) => line);
    return lines.map((line) => JSON.parse(line));
  }

  function fits(kind, item) {
    const right = bits[state.row].correct[item];
    const other = state.against < 0 ? null : bits[state.against].correct[item];
    switch (kind) {
      case "won": return other === 0 && right === 1;
      case "lost": return other === 1 && right === 0;
      case "right": return other === 1 && right === 1;
      case "wrong": return other === 0 && right === 0;
      case "cut": return bits[state.row].cut[item] === 1;
      case "unread": return bits[state.row].unread[item] === 1;
      default: return true;
    }
  }

  const draws = (row) => [row.text, ...(row.more || [])];

  function found(item, words, mine, theirs) {
    if (!words.length) return true;
    const parts = [ids[item], golds[item], questions ? questions[item] : ""];
    for (const rows of [mine, theirs]) if (rows) parts.push(...draws(rows[item]));
    const text = parts.join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function comparison() {
    if (state.against < 0) return "Choose a row to compare with, to see what was won and lost.";
    const [low, high] = [Math.min(state.row, state.against), Math.max(state.row, state.against)];
    const pair = data.pairs[`${low}-${high}`];
    if (typeof pair === "string") return `Not comparable: ${pair}. The answers may be read side by side; their difference means nothing.`;
    const sign = state.row === low ? 1 : -1;
    const signed = (value) => (value < 0 ? "-" : "+") + Math.abs(value).toFixed(2);
    const ends = [sign * pair[1], sign * pair[2]].sort((one, other) => one - other).map((end) => signed(end));
    const outcome = pair[sign > 0 ? 4 : 5];
    const p = pair[3] < 0.0001 ? "p < .0001" : `p = ${pair[3].toFixed(4).replace(/^0/, "")}`;
    return `${outcome[0].toUpperCase()}${outcome.slice(1)}: ${signed(sign * pair[0])} points, 95 % interval ${ends[0]} to ${ends[1]} (for this pair alone; ${p}).`;
  }

  function chips() {
    by("kinds").replaceChildren(...KINDS.filter(([, , alone]) => alone || state.against >= 0).map(([kind, words]) => {
      let count = 0;
      for (let item = 0; item < total; item += 1) count += fits(kind, item) ? 1 : 0;
      const button = make("button", words);
      button.type = "button";
      button.append(make("span", count.toLocaleString("en")));
      button.setAttribute("aria-pressed", String(state.only === kind));
      button.addEventListener("click", () => change({ only: kind, item: -1 }));
      return button;
    }));
  }

  function mark(right) {
    return make("span", right ? "✓" : "✗", right ? "yes" : "no");
  }

  function told(row, item) {
    return data.rows[row].read[item] === null ? "nothing" : data.rows[row].read[item];
  }

  function entry(item) {
    const button = make("button");
    button.type = "button";
    const marks = make("span", undefined, "marks");
    marks.append(mark(bits[state.row].correct[item]));
    if (state.against >= 0) marks.append(mark(bits[state.against].correct[item]));
    const words = [bits[state.row].correct[item] ? "right" : "wrong"];
    if (state.against >= 0) words.push(`compared row ${bits[state.against].correct[item] ? "right" : "wrong"}`);
    marks.setAttribute("role", "img");
    marks.setAttribute("aria-label", words.join(", "));
    const read = state.against < 0 ? told(state.row, item) : `${told(state.row, item)} · ${told(state.against, item)}`;
    button.append(marks, make("span", ids[item]), make("span", questions ? questions[item] : `gold ${golds[item]} · read ${read}`, "sub"));
    button.setAttribute("aria-current", String(item === state.item));
    button.addEventListener("click", () => change({ item }, true));
    const holder = make("div");
    holder.setAttribute("role", "listitem");
    holder.append(button);
    return holder;
  }

  function list() {
    const first = state.page * PAGE;
    const visible = shown.slice(first, first + PAGE);
    by("list").replaceChildren(...(visible.length ? visible.map(entry) : [make("p", "No problem matches. Clear the search or choose All.", "none")]));
    const last = first + visible.length;
    by("span").textContent = visible.length ? `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${shown.length.toLocaleString("en")}` : "0 problems";
    by("earlier").disabled = first === 0;
    by("later").disabled = last >= shown.length;
    const current = by("list").querySelector('[aria-current="true"]');
    if (current) by("list").scrollTop = Math.max(0, current.offsetTop - by("list").offsetTop - by("list").clientHeight / 3);
    else by("list").scrollTop = 0;
  }

  function card(row, item, rows) {
    const made = make("section", undefined, "card");
    const head = make("header");
    const right = bits[row].correct[item];
    head.append(make("b", data.rows[row].name), mark(right), ` ${right ? "right" : "wrong"}: `);
    const rule = data.rows[row].rules[data.rows[row].rule[item]];
    const read = data.rows[row].read[item];
    head.append(read === null ? `nothing was read (${rule})` : `read ${read} by ${rule}`);
    if (right && !bits[row].strict[item]) head.append(", not in the task's own format");
    if (bits[row].cut[item]) head.append(", cut at the token limit");
    if (rows && rows[item].tokens !== null) head.append(`, ${rows[item].tokens} tokens`);
    made.append(head);
    if (!rows) made.append(make("pre", "This browser cannot unpack the answers (it has no DecompressionStream). A newer one can.", "empty"));
    else for (const text of draws(rows[item])) made.append(text ? make("pre", text) : make("pre", "(an empty answer)", "empty"));
    return made;
  }

  // A text in a block that opens at a click; no block where there is no text.
  function fold(id, text) {
    by(id).textContent = text;
    by(id).parentElement.hidden = !text;
  }

  function detail(mine, theirs) {
    const { item } = state;
    by("detail").hidden = item < 0;
    if (item < 0) return;
    const place = shown.indexOf(item);
    by("which").textContent = ids[item];
    by("place").textContent = place < 0 ? "" : `${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
    by("previous").disabled = place <= 0;
    by("next").disabled = place < 0 || place >= shown.length - 1;
    by("gold").replaceChildren("Gold answer ", make("b", golds[item]));
    by("question").textContent = questions ? questions[item] : "";
    fold("prompt", start + prompts[item]);
    fold("solution", solutions[item]);
    const cards = [card(state.row, item, mine)];
    if (state.against >= 0) cards.push(card(state.against, item, theirs));
    by("both").replaceChildren(...cards);
  }

  async function draw() {
    turn += 1;
    const mine = turn;
    const [own, other] = await Promise.all([answers(state.row), answers(state.against)]);
    if (mine !== turn) return;
    const words = state.search.toLowerCase().split(/\s+/).filter((word) => word);
    shown = ids.map((_, item) => item).filter((item) => fits(state.only, item) && found(item, words, own, other));
    if (state.item < 0 && shown.length) state.item = shown[0];
    if (!shown.length) state.item = -1;
    if (shown.includes(state.item)) state.page = Math.floor(shown.indexOf(state.item) / PAGE);
    by("told").textContent = comparison();
    chips();
    list();
    detail(own, other);
  }

  function remember() {
    const words = new URLSearchParams({ row: data.rows[state.row].name });
    words.set("against", state.against < 0 ? "" : data.rows[state.against].name);
    if (state.only !== "all") words.set("show", state.only);
    if (state.search) words.set("search", state.search);
    if (state.item >= 0) words.set("item", ids[state.item]);
    history.replaceState(null, "", `#${words}`);
  }

  async function change(what, read = false) {
    Object.assign(state, what);
    if (state.against === state.row) state.against = -1;
    if (state.against < 0 && ["won", "lost", "right", "wrong"].includes(state.only)) state.only = "all";
    if (read) document.body.classList.add("reading");
    by("row").value = String(state.row);
    by("against").value = String(state.against);
    if (by("search").value !== state.search) by("search").value = state.search;
    await draw();
    remember();
    if (read && narrow()) by("detail").scrollIntoView();
  }

  // One column: the list and the answer take turns.
  function narrow() {
    return getComputedStyle(by("back")).display !== "none";
  }

  function step(by_) {
    const place = shown.indexOf(state.item) + by_;
    if (place >= 0 && place < shown.length) change({ item: shown[place] }, document.body.classList.contains("reading"));
  }

  // A deep link: what it does not say, or says wrongly, is as on opening.
  function recall() {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) return false;
    const words = new URLSearchParams(hash);
    const row = data.rows.findIndex((one) => one.name === words.get("row"));
    const against = data.rows.findIndex((one) => one.name === words.get("against"));
    const only = KINDS.some(([kind]) => kind === words.get("show")) ? words.get("show") : "all";
    const item = ids.indexOf(words.get("item"));
    change({ row: row < 0 ? opening() : row, against, only, search: words.get("search") || "", item }, item >= 0);
    return true;
  }

  function opening() {
    const trained = data.rows.findIndex((row, place) => row.base !== null && row.base !== place);
    return Math.max(0, trained);
  }

  function options(select, none) {
    if (none) select.append(new Option("nothing", "-1"));
    const groups = [...new Set(data.rows.map((row) => row.group))];
    for (const name of groups) {
      const group = make("optgroup");
      group.label = name;
      data.rows.forEach((row, place) => { if (row.group === name) group.append(new Option(row.name, String(place))); });
      select.append(group);
    }
  }

  function base(row) {
    const own = data.rows[row].base;
    return own === null || own === row ? -1 : own;
  }

  options(by("row"), false);
  options(by("against"), true);
  by("row").addEventListener("change", (event) => {
    const row = Number(event.target.value);
    const same = state.against >= 0 && data.rows[state.against].group === data.rows[row].group && state.against !== row;
    change({ row, against: same ? state.against : base(row) });
  });
  by("against").addEventListener("change", (event) => change({ against: Number(event.target.value) }));
  let wait = 0;
  by("search").addEventListener("input", (event) => {
    clearTimeout(wait);
    wait = setTimeout(() => change({ search: event.target.value, item: -1 }), 150);
  });
  by("earlier").addEventListener("click", () => { state.page -= 1; list(); });
  by("later").addEventListener("click", () => { state.page += 1; list(); });
  by("previous").addEventListener("click", () => step(-1));
  by("next").addEventListener("click", () => step(1));
  by("back").addEventListener("click", () => {
    document.body.classList.remove("reading");
    by("kinds").scrollIntoView();
    list();
  });
  addEventListener("hashchange", recall);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") { event.preventDefault(); by("search").focus(); }
  });
  by("browser").hidden = false;
  if (recall()) by("answers").scrollIntoView({ behavior: "instant" });
  else {
    state.row = opening();
    state.against = base(state.row);
    by("row").value = String(state.row);
    by("against").value = String(state.against);
    draw();
  }
})();
