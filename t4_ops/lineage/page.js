"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  // Below this scale a box shows one short line in larger letters instead of two lines.
  const NEAR = 0.72;
  // A view that shows everything, but smaller than this, helps nobody: the root is shown instead.
  const READABLE = 0.24;
  const BRIEF_PX = 10.5;
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const svg = $("graph");
  const stage = $("stage");
  const nodes = new Map(data.nodes.map((node) => [node.id, { ...node, before: [], after: [] }]));
  const edges = data.edges;
  const view = { x: 0, y: 0, scale: 1 };
  let picked = null;
  let hits = [];
  let hit = -1;

  const make = (tag, attributes, parent, text) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const add = (tag, parent, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    parent.append(element);
    return element;
  };

  // Text that fits

  const pen = document.createElement("canvas").getContext("2d");
  const fitted = (text, width, font) => {
    pen.font = font;
    if (pen.measureText(text).width <= width) return text;
    let low = 0;
    let high = text.length;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (pen.measureText(shortened(text, middle)).width <= width) low = middle;
      else high = middle - 1;
    }
    return shortened(text, low);
  };
  // The end of a name tells more than its middle.
  const shortened = (text, length) => {
    const letters = Array.from(text);
    const head = Math.ceil(length * 0.55);
    return letters.slice(0, head).join("") + "\u2026" + letters.slice(letters.length - (length - head)).join("");
  };

  // Drawing

  const path = (points) => {
    let d = `M${points[0][0]} ${points[0][1]}`;
    for (let i = 1; i < points.length; i += 1) {
      const [x0, y0] = points[i - 1];
      const [x1, y1] = points[i];
      const bend = (x0 + x1) / 2;
      d += i % 2 ? `C${bend} ${y0} ${bend} ${y1} ${x1} ${y1}` : `L${x1} ${y1}`;
    }
    return d;
  };
  const draw = () => {
    for (const edge of edges) {
      nodes.get(edge.from).after.push(edge);
      nodes.get(edge.to).before.push(edge);
      edge.element = make("path", { class: "edge", d: path(edge.points) }, $("edges"));
    }
    for (const node of nodes.values()) {
      const kind = node.id === data.root ? `${node.kind} root` : node.kind;
      const group = make("g", { class: `node ${kind}`, transform: `translate(${node.x} ${node.y})`, tabindex: 0, role: "button" }, $("nodes"));
      group.setAttribute("aria-label", `${node.title}, ${node.subtitle}`);
      group.dataset.id = node.id;
      const isRun = node.kind === "run" || node.kind === "failed";
      make("rect", { width: node.w, height: node.h, rx: isRun ? node.h / 2 : 7 }, group);
      make("title", {}, group, `${node.title}\n${node.subtitle}`);
      const room = node.w - (isRun ? 30 : 18);
      const middle = { x: node.w / 2 };
      make("text", { ...middle, y: node.h * 0.34, class: "title" }, group, fitted(node.title, room, `600 13px ${FONT}`));
      make("text", { ...middle, y: node.h * 0.7, class: "subtitle" }, group, fitted(node.subtitle, room, `11px ${FONT}`));
      node.label = make("text", { ...middle, y: node.h / 2, class: "brief" }, group);
      node.element = group;
    }
  };
  let labelled = 0;
  const relabel = () => {
    svg.classList.toggle("far", view.scale < NEAR);
    svg.classList.toggle("near", view.scale >= NEAR);
    svg.style.setProperty("--edge", String(Math.max(1.4, 1 / view.scale)));
    // Again only when the size has changed visibly: each label is measured.
    if (view.scale >= NEAR || Math.abs(Math.log(view.scale / labelled)) < 0.1) return;
    labelled = view.scale;
    for (const node of nodes.values()) {
      const size = Math.min(node.h * 0.74, Math.max(13, BRIEF_PX / view.scale));
      const room = node.w - (node.kind === "run" || node.kind === "failed" ? 22 : 10);
      node.label.setAttribute("font-size", size.toFixed(1));
      node.label.textContent = fitted(node.brief, room, `600 ${size}px ${FONT}`);
    }
  };

  // The view

  // What is not under the panel; on a small screen the panel covers all anyway.
  const size = () => {
    const width = svg.clientWidth;
    const covered = width > 700 ? $("panel").offsetWidth : 0;
    return [width - covered, svg.clientHeight];
  };
  let waiting = false;
  const show = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      stage.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
      relabel();
      showWindow();
    });
  };
  const wholeScale = () => {
    const [width, height] = size();
    return Math.min((width - 40) / data.width, (height - 90) / data.height, 1.5);
  };
  const zoomTo = (scale, x, y) => {
    const bounded = Math.min(4, Math.max(Math.min(wholeScale(), READABLE) * 0.7, scale));
    view.x = x - ((x - view.x) * bounded) / view.scale;
    view.y = y - ((y - view.y) * bounded) / view.scale;
    view.scale = bounded;
    show();
  };
  const centre = (x, y, scale) => {
    const [width, height] = size();
    view.scale = scale;
    view.x = width / 2 - x * scale;
    view.y = height / 2 - y * scale;
    show();
  };
  const fit = () => {
    const [, height] = size();
    const scale = Math.max(wholeScale(), 0.01);
    centre(data.width / 2, data.height / 2, scale);
    // The legend stands at the lower edge.
    view.y -= Math.min(25, Math.max(0, (height - data.height * scale) / 2 - 10));
  };
  const goTo = (node) => centre(node.x + node.w / 2, node.y + node.h / 2, Math.max(view.scale, 0.9));
  const inside = (start, window, graph) => (graph + 80 < window ? start : Math.max(window - graph - 40, Math.min(40, start)));
  const begin = () => {
    if (wholeScale() >= READABLE) fit();
    else {
      const root = nodes.get(data.root);
      centre(root.x + root.w / 2, root.y + root.h / 2, 0.75);
      // No empty half of the window where the root stands at an edge of the graph.
      const [width, height] = size();
      view.x = inside(view.x, width, data.width * view.scale);
      view.y = inside(view.y, height, data.height * view.scale);
    }
  };

  // The overview, where not everything is in view

  const drawMap = () => {
    $("map").setAttribute("viewBox", `0 0 ${data.width} ${data.height}`);
    for (const node of nodes.values()) {
      const kind = node.id === data.root ? "root" : node.kind;
      make("rect", { class: kind, x: node.x, y: node.y, width: node.w, height: node.h }, $("map-nodes"));
    }
  };
  const showWindow = () => {
    const [width, height] = size();
    const seen = { x: -view.x / view.scale, y: -view.y / view.scale, width: width / view.scale, height: height / view.scale };
    const isAll = seen.x <= 0 && seen.y <= 0 && seen.x + seen.width >= data.width && seen.y + seen.height >= data.height;
    $("map").toggleAttribute("hidden", isAll);
    for (const [name, value] of Object.entries(seen)) $("window").setAttribute(name, value);
  };
  const mapPoint = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform($("map").getScreenCTM().inverse());
    centre(point.x, point.y, view.scale);
  };

  // Picking a node

  const reach = (start, side, end) => {
    const found = new Set();
    const open = [start];
    while (open.length) {
      for (const edge of open.pop()[side]) {
        if (found.has(edge)) continue;
        found.add(edge);
        open.push(nodes.get(edge[end]));
      }
    }
    return found;
  };
  const pick = (node) => {
    picked = node;
    const on = node ? new Set([...reach(node, "before", "from"), ...reach(node, "after", "to")]) : new Set();
    const near = new Set(node ? [node.id] : []);
    for (const edge of on) near.add(edge.from).add(edge.to);
    svg.classList.toggle("dimmed", node !== null);
    for (const edge of edges) edge.element.classList.toggle("on", on.has(edge));
    // What is drawn last lies above the others.
    for (const edge of on) $("edges").append(edge.element);
    for (const other of nodes.values()) {
      other.element.classList.toggle("on", near.has(other.id));
      other.element.classList.toggle("picked", other === node);
    }
    $("panel").toggleAttribute("hidden", node === null);
    if (node) describe(node);
  };
  const KINDS = { dataset: "Revision", source: "Source", run: "Run", failed: "Run that did not complete" };
  const CODES = new Set(["Top hash", "URI", "Run id", "Before it", "Part of", "Root", "Code", "Columns", "Column lineage", "Only parts of", "Error"]);
  const describe = (node) => {
    $("panel-kind").textContent = KINDS[node.kind];
    $("panel-title").textContent = node.title;
    $("facts").replaceChildren();
    for (const [name, value] of node.facts) {
      add("dt", $("facts"), name);
      add("dd", $("facts"), value, CODES.has(name) ? "code" : "");
    }
    $("around").replaceChildren();
    const isRun = node.kind === "run" || node.kind === "failed";
    list(isRun ? "Inputs shown here" : "Published by", node.before.map((edge) => nodes.get(edge.from)));
    list(isRun ? "Outputs shown here" : "Read by", node.after.map((edge) => nodes.get(edge.to)));
    $("panel").scrollTop = 0;
  };
  const list = (title, others) => {
    if (!others.length) return;
    add("h3", $("around"), `${title} (${others.length})`);
    const rows = add("ul", $("around"));
    for (const other of others) {
      const button = add("button", add("li", rows), other.title);
      button.type = "button";
      add("small", button, other.subtitle);
      button.addEventListener("click", () => {
        pick(other);
        goTo(other);
      });
    }
  };

  // Searching

  const search = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter((word) => word);
    hits = words.length ? [...nodes.values()].filter((node) => words.every((word) => node.text.includes(word))) : [];
    hit = -1;
    const found = new Set(hits);
    for (const node of nodes.values()) node.element.classList.toggle("hit", found.has(node));
    $("hits").textContent = words.length ? `${hits.length} found` : "";
  };
  const nextHit = (step) => {
    if (!hits.length) return;
    hit = (hit + step + hits.length) % hits.length;
    $("hits").textContent = `${hit + 1} of ${hits.length}`;
    pick(hits[hit]);
    goTo(hits[hit]);
  };

  // Hands and keys

  const pointers = new Map();
  let moved = 0;
  const nodeAt = (target) => {
    const group = target instanceof Element ? target.closest(".node") : null;
    return group ? nodes.get(group.dataset.id) : null;
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, event);
    moved = pointers.size > 1 ? Infinity : 0;
  });
  svg.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.clientX;
    const dy = event.clientY - before.clientY;
    moved += Math.abs(dx) + Math.abs(dy);
    if (moved < 4) return;
    // Captured only now: a captured pointer's click would be the graph's, not the node's.
    svg.setPointerCapture(event.pointerId);
    svg.classList.add("moving");
    const [other] = [...pointers.values()].filter((one) => one.pointerId !== event.pointerId);
    if (other) {
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      const box = svg.getBoundingClientRect();
      zoomTo((view.scale * apart(event)) / Math.max(1, apart(before)), other.clientX - box.left, other.clientY - box.top);
    } else {
      view.x += dx;
      view.y += dy;
      show();
    }
    pointers.set(event.pointerId, event);
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    svg.classList.remove("moving");
  };
  svg.addEventListener("pointerup", release);
  svg.addEventListener("pointercancel", release);
  svg.addEventListener("click", (event) => {
    if (moved < 4) pick(nodeAt(event.target));
  });
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const factor = Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) * 0.0022);
    zoomTo(view.scale * factor, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  const step = (factor) => zoomTo(view.scale * factor, size()[0] / 2, size()[1] / 2);
  const pan = (dx, dy) => {
    view.x += dx;
    view.y += dy;
    show();
  };
  const home = () => goTo(nodes.get(data.root));
  const KEYS = {
    "+": () => step(1.25), "=": () => step(1.25), "-": () => step(0.8), 0: fit, h: home,
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    "/": () => $("search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      $("search").value = "";
      search();
      pick(null);
      svg.focus();
      return;
    }
    if (event.target === $("search")) {
      if (event.key === "Enter") nextHit(event.shiftKey ? -1 : 1);
      return;
    }
    const node = nodeAt(event.target);
    if (node && (event.key === "Enter" || event.key === " ")) pick(node);
    else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
    else return;
    event.preventDefault();
  });
  $("map").addEventListener("pointerdown", mapPoint);
  $("map").addEventListener("pointermove", (event) => event.buttons && mapPoint(event));
  $("search").addEventListener("input", search);
  $("in").addEventListener("click", () => step(1.25));
  $("out").addEventListener("click", () => step(0.8));
  $("fit").addEventListener("click", fit);
  $("home").addEventListener("click", home);
  $("close").addEventListener("click", () => pick(null));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (isDark) => { document.documentElement.dataset.theme = isDark ? "dark" : "light"; };
  dark.addEventListener("change", () => setTheme(dark.matches));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  new ResizeObserver(show).observe(svg);

  // The beginning

  setTheme(dark.matches);
  draw();
  drawMap();
  for (const node of nodes.values()) {
    node.text = [node.title, node.subtitle, ...node.facts.map(([, value]) => value)].join(" ").toLowerCase();
  }
  const runs = data.nodes.filter((node) => node.kind === "run" || node.kind === "failed").length;
  const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  $("counts").textContent = `${count(nodes.size - runs, "dataset")}, ${count(runs, "run")}`;
  for (const line of data.unread) add("span", $("unread"), `Could not be read: ${line}`);
  $("unread").toggleAttribute("hidden", !data.unread.length);
  begin();
})();
